{{/* How a pod connects to its database: through a pooler or directly, and with which CA certificates. */}}

{{/* (list context {secretName, key}): the same, with the key of the URL of the server itself. What needs a session, as
     migrations and backups do, does not work through a pooler in transaction mode. */}}
{{- define "service.database.direct" -}}
{{- $from := index . 1 }}
{{- if eq (index . 0).Values.global.database.pooler "Transaction" }}
{{- $from = dict "secretName" $from.secretName "key" (printf "%s-direct" $from.key) }}
{{- end }}
{{- toJson $from }}
{{- end }}

{{/* (list context {secretName, key}): the variables of a container that connects to the server directly. */}}
{{- define "service.database.directEnv" -}}
{{ include "service.secretVariable" (list (index . 0) "SHOP_DATABASE_URL" (include "service.database.direct" . | fromJson)) }}
{{- include "service.database.caEnv" (index . 0) }}
{{- end }}

{{- define "service.database.hasCa" -}}
{{- with .Values.global.database.ca }}{{ if or .secretName .configMapName }}yes{{ end }}{{ end }}
{{- end }}

{{- define "service.database.caFile" -}}
/run/database-ca/ca.crt
{{- end }}

{{/* Items of a list, each after a line break; empty without a CA. */}}
{{- define "service.database.caEnv" }}
{{- if include "service.database.hasCa" . }}
- {name: PGSSLROOTCERT, value: {{ include "service.database.caFile" . }}}
{{- end }}
{{- end }}

{{- define "service.database.caMount" }}
{{- if include "service.database.hasCa" . }}
- {name: database-ca, mountPath: {{ include "service.database.caFile" . | dir }}, readOnly: true}
{{- end }}
{{- end }}

{{- define "service.database.caVolume" }}
{{- if include "service.database.hasCa" . }}
{{- with .Values.global.database.ca }}
- name: database-ca
  {{- if .secretName }}
  secret: {secretName: {{ .secretName }}, defaultMode: 0440, items: [{key: {{ .key }}, path: ca.crt}]}
  {{- else }}
  configMap: {name: {{ .configMapName }}, items: [{key: {{ .key }}, path: ca.crt}]}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}
