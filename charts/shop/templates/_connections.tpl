{{/* How many PostgreSQL connections the shop may open, compared with max_connections. */}}

{{/* (list root NOUN): the pool size of one pod. `env` takes precedence over `config`. */}}
{{- define "shop.connections.pool" -}}
{{- $values := index (index . 0).Values.services (index . 1) }}
{{- $pool := get ($values.config | default dict) "SHOP_DATABASE_POOL_SIZE" | default "6" }}
{{- range $values.env }}
{{- if and (eq .name "SHOP_DATABASE_POOL_SIZE") .value }}{{ $pool = .value }}{{ end }}
{{- end }}
{{- $pool }}
{{- end }}

{{/* (list root NOUN): the maximum number of pods at once, those of a rolling update included. */}}
{{- define "shop.connections.pods" -}}
{{- $values := index (index . 0).Values.services (index . 1) }}
{{- $pods := ternary $values.autoscaling.maxReplicas $values.replicas $values.autoscaling.enabled | int }}
{{- $surge := toString $values.maxSurge }}
{{- if hasSuffix "%" $surge }}
{{- $surge = divf (mulf $pods (trimSuffix "%" $surge | float64)) 100 | ceil }}
{{- end }}
{{- add $pods (int $surge) }}
{{- end }}

{{/* Per database: 2 of a migration Job, which runs beside the pods, and 3 of a backup. Then 3 that PostgreSQL reserves for
     superusers, 6 of an audit and 1 of the provisioning Job. An init container migrates before its pod opens a pool. */}}
{{- define "shop.connections.others" -}}
{{- $others := 10 }}
{{- range $noun := include "shop.withDatabase" . | fromJsonArray }}
{{- if eq (index $.Values.services $noun).migrations.mode "Job" }}{{ $others = add $others 2 }}{{ end }}
{{- if $.Values.backup.enabled }}{{ $others = add $others 3 }}{{ end }}
{{- end }}
{{- $others }}
{{- end }}

{{/* The sum and, for messages, its parts: {needed, parts}. */}}
{{- define "shop.connections" -}}
{{- $others := include "shop.connections.others" . | int }}
{{- $needed := $others }}
{{- $parts := list }}
{{- range $noun := include "shop.withDatabase" . | fromJsonArray }}
{{- $pods := include "shop.connections.pods" (list $ $noun) | int }}
{{- $pool := include "shop.connections.pool" (list $ $noun) | int }}
{{- $needed = add $needed (mul $pods $pool) }}
{{- $parts = append $parts (printf "%s %d pods x %d" $noun $pods $pool) }}
{{- end }}
{{- dict "needed" $needed "parts" (printf "%s, others %d" (join ", " $parts) $others) | toJson }}
{{- end }}

{{/* max_connections of a server that this release creates. PostgreSQL restarts when it changes, so it goes in hundreds:
     another replica of a service or another service hardly ever changes it. */}}
{{- define "shop.connections.max" -}}
{{- $needed := (include "shop.connections" . | fromJson).needed | int }}
{{- .Values.database.maxConnections | int | default (max 200 (mul 100 (divf $needed 100 | ceil | int))) }}
{{- end }}

{{- define "shop.connections.check" -}}
{{- $sum := include "shop.connections" . | fromJson }}
{{- $needed := int $sum.needed }}
{{- $given := int .Values.database.maxConnections }}
{{- $most := $given | default (ternary $needed 500 (eq .Values.database.mode "External")) }}
{{- if gt $needed $most }}
{{- $why := ternary (printf "database.maxConnections is %d" $given) "database.maxConnections is not set, which allows up to 500" (gt $given 0) }}
{{- fail (printf "%s, but the services may open %d connections (%s): raise it, or lower the maximum number of pods or SHOP_DATABASE_POOL_SIZE" $why $needed $sum.parts) }}
{{- end }}
{{- end }}
