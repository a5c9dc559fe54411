{{/* The services. Templates find them in .Values.services, complete, after one of these has been included. */}}

{{/* Gives each service in .Values.services the values that it shares with all: its key as noun, `global`, and what it does not
     set of serviceDefaults, where Helm puts those of charts/service. global.absentServices then are those that are disabled,
     and global.allPodsServices says whether the control room runs, which asks every pod.
     Done once per render. */}}
{{- define "shop.completeServices" }}
{{- if not .Values.servicesAreComplete }}
{{- include "shop.checkPlaces" . }}
{{- range $noun, $given := .Values.services }}
{{- $values := omit $.Values.serviceDefaults "global" | deepCopy }}
{{- include "shop.overlay" (list $values $given) }}
{{- $_ := set $values "noun" $noun }}
{{- $_ := set $values "global" $.Values.global }}
{{- $_ := set $.Values.services $noun $values }}
{{- end }}
{{- $absent := list }}
{{- range $noun, $service := .Values.services }}{{ if not $service.enabled }}{{ $absent = append $absent $noun }}{{ end }}{{ end }}
{{- $_ := set .Values.global "absentServices" $absent }}
{{- $_ := set .Values.global "allPodsServices" (not (has "ops" $absent)) }}
{{- range $noun, $service := .Values.services }}
{{- $callers := list }}
{{- range $service.networkPolicy.callers }}{{ if not (has . $absent) }}{{ $callers = append $callers . }}{{ end }}{{ end }}
{{- $_ := set $service "networkPolicy" (merge (dict "callers" $callers) $service.networkPolicy) }}
{{- end }}
{{- $_ := set .Values "servicesAreComplete" true }}
{{- end }}
{{- end }}

{{/* (list BASE OVER): changes BASE as Helm merges values, maps key by key. Unlike sprig's merge it lets null, "" and false win. */}}
{{- define "shop.overlay" }}
{{- $base := index . 0 }}
{{- range $key, $value := index . 1 }}
{{- if and (kindIs "map" $value) (kindIs "map" (get $base $key)) }}{{ include "shop.overlay" (list (get $base $key) $value) }}
{{- else }}{{ $_ := set $base $key $value }}
{{- end }}
{{- end }}
{{- end }}

{{/* The values of a service once stood where `services` is. The schema lets those through, for this to say where they moved. */}}
{{- define "shop.checkPlaces" }}
{{- range $noun := keys .Values.services }}
{{- range $key, $value := get $.Values $noun | default dict }}
{{- fail (printf "%s.%s has moved: the values of services are under services now, this one is services.%s.%s" $noun $key $noun $key) }}
{{- end }}
{{- end }}
{{- end }}

{{/* The nouns of the services that run, as JSON. */}}
{{- define "shop.enabledServices" -}}
{{- include "shop.completeServices" . }}
{{- $nouns := list }}
{{- range $noun, $service := .Values.services }}
{{- if $service.enabled }}{{ $nouns = append $nouns $noun }}{{ end }}
{{- end }}
{{- toJson $nouns }}
{{- end }}

{{/* (list root VARIABLE): the nouns of those with the variable from a Secret, as JSON. */}}
{{- define "shop.servicesWith" -}}
{{- $root := index . 0 }}{{ $variable := index . 1 }}
{{- $nouns := list }}
{{- range $noun := include "shop.enabledServices" $root | fromJsonArray }}
{{- $service := index $root.Values.services $noun }}
{{- if or (get $service.secretEnv $variable) (get $service.secretFiles $variable) }}{{ $nouns = append $nouns $noun }}{{ end }}
{{- end }}
{{- toJson $nouns }}
{{- end }}

{{/* The nouns of those with a database, as JSON. */}}
{{- define "shop.withDatabase" -}}
{{ include "shop.servicesWith" (list . "SHOP_DATABASE_URL") }}
{{- end }}

{{/* (list root NOUN): the image of one service. */}}
{{- define "shop.image" -}}
{{- $root := index . 0 }}
{{- include "shop.completeServices" $root }}
{{- include "service.image" (dict "Values" (index $root.Values.services (index . 1)) "Chart" $root.Chart) }}
{{- end }}
