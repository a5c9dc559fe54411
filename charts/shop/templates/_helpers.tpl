{{/* Values of services call some of these templates in a service's context: those read only .Values.global and .Release. */}}

{{/* (list context NAME): the name of an object of this shop. */}}
{{- define "shop.name" -}}
{{ include "service.prefixed" . }}
{{- end }}

{{/* (list context KIND): the name of the Secret of that kind, given or generated. */}}
{{- define "shop.secret" -}}
{{- $context := index . 0 }}{{ $kind := index . 1 -}}
{{- $own := ternary $kind (printf "shop-%s" $kind) (has $kind (list "postgres" "nats" "valkey")) -}}
{{ index $context.Values.global.secrets $kind | default (include "shop.name" (list $context $own)) }}
{{- end }}

{{/* The name of the Secret of a service's database, in its own context; databaseOf (list context NOUN) in any. */}}
{{- define "shop.database" -}}
{{ include "shop.databaseOf" (list . (include "service.noun" .)) }}
{{- end }}
{{- define "shop.databaseOf" -}}
{{- $context := index . 0 }}{{ $noun := index . 1 -}}
{{ get ($context.Values.global.secrets.database | default dict) $noun | default (include "shop.name" (list $context (printf "database-%s" $noun))) }}
{{- end }}

{{/* (list root NOUN): {secretName, key} of the URL of a service's database, in the root context. */}}
{{- define "shop.databaseUrl" -}}
{{- include "shop.completeServices" (index . 0) }}
{{- $values := index (index . 0).Values.services (index . 1) -}}
{{ dict "secretName" (include "shop.databaseOf" .) "key" $values.secretEnv.SHOP_DATABASE_URL.key | toJson }}
{{- end }}

{{/* (list context NOUN): the URL of that service. */}}
{{- define "shop.url" -}}
http://{{ include "shop.name" . }}{{ if eq (index . 0).Values.global.discovery "DNS" }}-pods{{ end }}:8000
{{- end }}

{{/* The same of a service that a shop can be without; empty if it is. */}}
{{- define "shop.optionalUrl" -}}
{{- if not (has (index . 1) (index . 0).Values.global.absentServices) }}{{ include "shop.url" . }}{{ end }}
{{- end }}

{{/* (list context NOUN): the URL that leads to every pod of a service, ready or not; empty for one that the shop is without. */}}
{{- define "shop.allPodsUrl" -}}
{{- if not (has (index . 1) (index . 0).Values.global.absentServices) }}http://{{ include "shop.name" . }}-all:8000{{ end }}
{{- end }}

{{/* (list context NOUN PORT): where clients balance over the pods of a service by gRPC; empty for one that the shop is without. */}}
{{- define "shop.grpcUrl" -}}
{{- if not (has (index . 1) (index . 0).Values.global.absentServices) }}dns:///{{ include "shop.name" . }}-grpc:{{ index . 2 }}{{ end }}
{{- end }}

{{/* SHOP_TRUSTED_PROXIES, in the gateway's context: the given networks, else those of pods if an Ingress or a Gateway
     leads to it. */}}
{{- define "shop.trustedProxies" -}}
{{- if .Values.global.trustedProxies }}{{ join "," .Values.global.trustedProxies }}
{{- else if or .Values.ingress.enabled .Values.httpRoute.enabled }}10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7{{ end }}
{{- end }}

{{/* SHOP_STORE: title, currency, countries, taxes, shipping and, in a shop with food, its delivery fee as JSON. */}}
{{- define "shop.store" -}}
{{- $store := .Values.global.store }}
{{- $taxes := list }}
{{- range $store.taxes }}
{{- $tax := dict "country" .country "rate_percent" .ratePercent }}
{{- with .category }}{{ $_ := set $tax "category" . }}{{ end }}
{{- $taxes = append $taxes $tax }}
{{- end }}
{{- $shipping := dict "flat" (int64 $store.shipping.flat) }}
{{- if not (kindIs "invalid" $store.shipping.freeAbove) }}{{ $_ := set $shipping "free_above" (int64 $store.shipping.freeAbove) }}{{ end }}
{{- $json := dict "title" $store.title "currency" $store.currency "country" $store.country "taxes" $taxes "shipping" $shipping }}
{{- if not (has "delivery" .Values.global.absentServices) }}
{{- $fee := $store.delivery }}
{{- $delivery := dict "base" (int64 $fee.base) "per_km" (int64 $fee.perKm) "max_distance_m" (int64 $fee.maxDistanceM) }}
{{- if not (kindIs "invalid" $fee.freeAbove) }}{{ $_ := set $delivery "free_above" (int64 $fee.freeAbove) }}{{ end }}
{{- $_ := set $json "delivery" $delivery }}
{{- end }}
{{- with $store.tagline }}{{ $_ := set $json "tagline" . }}{{ end }}
{{- with $store.language }}{{ $_ := set $json "language" . }}{{ end }}
{{- with $store.timeZone }}{{ $_ := set $json "time_zone" . }}{{ end }}
{{- with $store.shipsTo }}{{ $_ := set $json "ships_to" . }}{{ end }}
{{- $json | toJson }}
{{- end }}

{{/* Currencies of which Stripe cannot charge every amount: shop.payment.stripe_amounts.takes_every_amount. */}}
{{- define "shop.notForStripe" -}}
{{ list "BHD" "IQD" "JOD" "KWD" "LYD" "MGA" "OMR" "TND" | toJson }}
{{- end }}

{{/* A country that orders ship to. */}}
{{- define "shop.firstCountry" -}}
{{- $store := .Values.global.store }}
{{- $taxed := list }}
{{- range $store.taxes }}{{ $taxed = append $taxed .country }}{{ end }}
{{- first (concat $store.shipsTo $taxed (list $store.country)) }}
{{- end }}

{{- define "shop.labels" -}}
{{- $context := index . 0 -}}
app.kubernetes.io/name: {{ index . 1 }}
app.kubernetes.io/instance: {{ $context.Release.Name }}
app.kubernetes.io/part-of: shop
app.kubernetes.io/version: {{ $context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $context.Release.Service }}
helm.sh/chart: shop-{{ $context.Chart.Version }}
{{- end }}

{{- define "shop.selector" -}}
app.kubernetes.io/name: {{ index . 1 }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
{{- end }}

{{/* The names of the Jobs that connect to the database, as JSON. */}}
{{- define "shop.databaseJobs" -}}
{{- $jobs := list "provision" "catalogue" }}
{{- range $noun := include "shop.withDatabase" . | fromJsonArray }}
{{- if eq (index $.Values.services $noun).migrations.mode "Job" }}{{ $jobs = append $jobs "migrate" }}{{ end }}
{{- end }}
{{- if .Values.backup.enabled }}{{ $jobs = append $jobs "backup" }}{{ end }}
{{- if .Values.restore.source }}{{ $jobs = append $jobs "restore" }}{{ end }}
{{- uniq $jobs | toJson }}
{{- end }}

{{/* "yes" when this release creates roles and databases. */}}
{{- define "shop.provisions" -}}
{{- if or (ne .Values.database.mode "External") .Values.database.external.host }}yes{{ end }}
{{- end }}

{{/* A host as in a URL: an IPv6 address is put in brackets. */}}
{{- define "shop.urlHost" -}}
{{ ternary (printf "[%s]" .) . (contains ":" .) }}
{{- end }}

{{- define "shop.databaseHost" -}}
{{- if eq .Values.database.mode "External" -}}
{{ .Values.database.external.host }}
{{- else if eq .Values.database.mode "CloudNativePG" -}}
{{ include "shop.name" (list . "postgres") }}-rw
{{- else -}}
{{ include "shop.name" (list . "postgres") }}
{{- end -}}
{{- end }}

{{- define "shop.databasePort" -}}
{{ ternary .Values.database.external.port 5432 (eq .Values.database.mode "External") }}
{{- end }}

{{- define "shop.sslmode" -}}
{{- if eq .Values.database.mode "External" }}{{ .Values.database.external.sslmode }}{{ else if eq .Values.database.mode "CloudNativePG" }}require{{ else }}disable{{ end }}
{{- end }}

{{/* (list context SECRET KEY): the value in the existing Secret, else a new one of letters and digits. It needs no escaping
     in URLs and configurations; it begins with a letter, because a first digit could be read as a number. */}}
{{- define "shop.kept" -}}
{{- $context := index . 0 -}}
{{- $found := get ((lookup "v1" "Secret" $context.Release.Namespace (index . 1)).data | default dict) (index . 2) -}}
{{- if $found }}{{ $found | b64dec }}{{ else }}{{ randAlpha 1 }}{{ randAlphaNum 31 }}{{ end }}
{{- end }}

{{/* Refuses a second shop with the same names before Helm has written anything. `lookup` finds nothing without a cluster. */}}
{{- define "shop.checkNames" -}}
{{- $names := list }}
{{- range $noun := include "shop.enabledServices" . | fromJsonArray }}
{{- $names = append $names (list "Service" (include "shop.name" (list $ $noun))) }}
{{- end }}
{{- range $kind := list "internal" "admin" "keys" "postgres" "nats" "valkey" }}
{{- if not (index $.Values.global.secrets $kind) }}{{ $names = append $names (list "Secret" (include "shop.secret" (list $ $kind))) }}{{ end }}
{{- end }}
{{- range $names }}
{{- $found := lookup "v1" (index . 0) $.Release.Namespace (index . 1) }}
{{- $owner := get (($found | default dict).metadata | default dict | dig "annotations" dict) "meta.helm.sh/release-name" }}
{{- if and $owner (ne $owner $.Release.Name) }}
{{- fail (printf "namespace %s already has the shop of release %s (its %s %s): install in another namespace, or set global.namePrefix. What an uninstalled release has left is deleted by: kubectl -n %s delete secret,persistentvolumeclaim -l app.kubernetes.io/instance=%s" $.Release.Namespace $owner (index . 0) (index . 1) $.Release.Namespace $owner) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Refuses contradictory values about connections to the database. */}}
{{- define "shop.checkDatabaseAccess" -}}
{{- $ca := .Values.global.database.ca }}
{{- $pooled := eq .Values.global.database.pooler "Transaction" }}
{{- $external := .Values.database.external }}
{{- if and $ca.secretName $ca.configMapName }}
{{- fail "global.database.ca takes secretName or configMapName, not both" }}
{{- end }}
{{- if and (or $pooled $ca.secretName $ca.configMapName) (ne .Values.database.mode "External") }}
{{- fail (printf "global.database.pooler Transaction and global.database.ca are for database.mode External, not %s" .Values.database.mode) }}
{{- end }}
{{- if and (eq .Values.database.mode "External") $external.host }}
{{- if and (hasPrefix "verify-" $external.sslmode) (not (include "service.database.hasCa" .)) }}
{{- fail (printf "database.external.sslmode %s needs global.database.ca.secretName or configMapName, the certificates of the server's authority" $external.sslmode) }}
{{- end }}
{{- if and $pooled (not $external.pooler.host) }}
{{- fail "global.database.pooler Transaction needs database.external.pooler.host, where the services connect to" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Checks that the schema cannot express. */}}
{{- define "shop.check" -}}
{{- include "shop.completeServices" . }}
{{- include "shop.connections.check" . }}
{{- include "shop.checkDatabaseAccess" . }}
{{- if and (eq .Values.messaging.mode "External") (not .Values.global.secrets.nats) }}
{{- fail "messaging.mode External needs global.secrets.nats, the name of a Secret with the key url" }}
{{- end }}
{{- if and (eq .Values.cache.mode "External") (not .Values.global.secrets.valkey) }}
{{- fail "cache.mode External needs global.secrets.valkey, the name of a Secret with the key url" }}
{{- end }}
{{- if eq .Values.database.mode "External" }}
{{- if .Values.database.external.host }}
{{- if not .Values.global.secrets.postgres }}
{{- fail "database.external.host needs global.secrets.postgres, the name of a Secret with username and password of an administrator who may create roles and databases" }}
{{- end }}
{{- else }}
{{- range $noun := include "shop.withDatabase" . | fromJsonArray }}
{{- if not (get ($.Values.global.secrets.database | default dict) $noun) }}
{{- fail (printf "database.mode External needs database.external.host, or global.secrets.database.%s, the name of a Secret with the key url" $noun) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if and (ne .Values.database.mode "CloudNativePG") (gt (int .Values.database.instances) 1) }}
{{- fail (printf "database.instances is %d, but mode %s has one: CloudNativePG runs several" (int .Values.database.instances) .Values.database.mode) }}
{{- end }}
{{- $payment := .Values.services.payment }}
{{- $provider := get $payment.config "SHOP_PAYMENT_PROVIDER" | default "simulator" }}
{{- if and $payment.enabled .Values.services.storefront.enabled (ne $provider "simulator") }}
{{- fail (printf "services.payment.config.SHOP_PAYMENT_PROVIDER is %s, but the storefront takes test cards and no real ones yet: set services.storefront.enabled to false, or the provider to simulator" $provider) }}
{{- end }}
{{- if and $payment.enabled (eq $provider "stripe") (has .Values.global.store.currency (include "shop.notForStripe" . | fromJsonArray)) }}
{{- fail (printf "global.store.currency is %s, of which Stripe cannot charge every amount: choose another currency, or the provider simulator" .Values.global.store.currency) }}
{{- end }}
{{- if and .Values.catalog.sample .Values.catalog.configMap }}
{{- fail "catalog takes sample or configMap, not both: set catalog.sample to \"\"" }}
{{- end }}
{{- end }}
