{{/* Shared by backup and restore. */}}

{{/* pvc://CLAIM/path or s3://BUCKET/path as JSON: {scheme, root, path}. */}}
{{- define "shop.backup.place" -}}
{{- $rest := splitList "://" . -}}
{{- $parts := splitn "/" 2 (index $rest 1) -}}
{{ dict "scheme" (index $rest 0) "root" $parts._0 "path" ($parts._1 | default "" | trimAll "/") | toJson }}
{{- end }}

{{- define "shop.backup.files" -}}
{{- $context := index . 0 }}{{ $name := index . 1 -}}
passwd: |
  {{ $name }}:x:{{ $context.Values.runAsUser | int64 }}:{{ $context.Values.runAsUser | int64 }}::/tmp:/bin/sh
{{- range $file := index . 2 }}
{{ $file }}: |
  {{- $context.Files.Get (printf "files/backup/%s" $file) | trim | nindent 2 }}
{{- end }}
{{- end }}

{{/* The URLs of the databases, from the Secrets of the services. */}}
{{- define "shop.backup.databases" -}}
- {name: NOUNS, value: {{ include "shop.withDatabase" . | fromJsonArray | join " " }}}
{{- range $noun := include "shop.withDatabase" . | fromJsonArray }}
{{- $from := include "service.database.direct" (list $ (include "shop.databaseUrl" (list $ $noun) | fromJson)) | fromJson }}
- name: URL_{{ upper $noun }}
  valueFrom:
    secretKeyRef: {name: {{ $from.secretName }}, key: {{ $from.key }}}
{{- end }}
{{- include "service.database.caEnv" . }}
{{- end }}

{{/* (list context NAME ENV [ARGUMENT]): a container with PostgreSQL's programs that runs NAME.sh. */}}
{{- define "shop.backup.script" -}}
{{- $context := index . 0 }}{{ $name := index . 1 -}}
image: {{ $context.Values.database.image }}
imagePullPolicy: {{ $context.Values.global.image.pullPolicy }}
terminationMessagePolicy: FallbackToLogsOnError
command: [sh, /etc/shop-backup/{{ $name }}.sh{{ range rest (rest (rest .)) }}, {{ . }}{{ end }}]
env:
  {{- include "shop.backup.databases" $context | nindent 2 }}
  {{- range $key, $value := index . 2 }}
  - {name: {{ $key }}, value: {{ $value | quote }}}
  {{- end }}
securityContext: {{- include "service.containerSecurity" $context | nindent 2 }}
resources:
  requests: {cpu: 50m, memory: 64Mi}
  limits: {memory: 512Mi}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- include "service.database.caMount" $context | indent 2 }}
  - {name: files, mountPath: /etc/shop-backup, readOnly: true}
  - {name: files, mountPath: /etc/passwd, subPath: passwd, readOnly: true}
  - {name: backups, mountPath: /backups}
{{- end }}

{{/* (list context VERB SECRET ENV): a container of the operator's image that moves backups to or from a bucket. */}}
{{- define "shop.backup.bucket" -}}
{{- $context := index . 0 -}}
image: {{ if $context.Values.backup.image }}{{ $context.Values.backup.image }}{{ else }}{{ include "service.registry" $context }}/shop-operator:{{ $context.Values.global.image.tag | default $context.Chart.AppVersion }}{{ end }}
imagePullPolicy: {{ $context.Values.global.image.pullPolicy }}
terminationMessagePolicy: FallbackToLogsOnError
command: [/app/.venv/bin/python, -m, shop.operator.backup, {{ index . 1 }}]
env:
  {{- range $variable, $key := dict "ENDPOINT" "endpoint" "ACCESS_KEY" "accessKey" "SECRET_KEY" "secretKey" "REGION" "region" }}
  - name: S3_{{ $variable }}
    valueFrom:
      secretKeyRef: {name: {{ index $ 2 }}, key: {{ $key }}{{ if eq $key "region" }}, optional: true{{ end }}}
  {{- end }}
  {{- range $key, $value := index . 3 }}
  - {name: {{ $key }}, value: {{ $value | quote }}}
  {{- end }}
securityContext: {{- include "service.containerSecurity" $context | nindent 2 }}
resources:
  requests: {cpu: 50m, memory: 96Mi}
  limits: {memory: 384Mi}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: backups, mountPath: /backups}
{{- end }}

{{/* (list context NAME PLACE): the volumes; what is on its way to or from a bucket lies on the node meanwhile. */}}
{{- define "shop.backup.volumes" -}}
{{- $context := index . 0 }}{{ $place := index . 2 -}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- include "service.database.caVolume" $context }}
- name: files
  configMap: {name: {{ include "shop.name" (list $context (index . 1)) }}}
- name: backups
  {{- if eq $place.scheme "pvc" }}
  persistentVolumeClaim: {claimName: {{ $place.root }}{{ if eq (index . 1) "restore" }}, readOnly: true{{ end }}}
  {{- else }}
  emptyDir: {sizeLimit: {{ $context.Values.backup.scratch }}}
  {{- end }}
{{- end }}

{{/* (list FIELD PLACE SECRET): what the schema cannot say in a sentence. */}}
{{- define "shop.backup.check" -}}
{{- if not (index . 1) }}
{{- fail (printf "%s is missing: pvc://CLAIM/path or s3://BUCKET/path" (index . 0)) }}
{{- end }}
{{- if and (hasPrefix "s3://" (index . 1)) (not (index . 2)) }}
{{- fail (printf "%s s3://... needs secretName, the Secret with the bucket's endpoint, accessKey and secretKey" (index . 0)) }}
{{- end }}
{{- end }}
