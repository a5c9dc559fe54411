{{/* The templates here take the context of one service: Values, Chart, Release and Capabilities. charts/shop makes one for
     each of its services, with FieldPrefix, where their values are in its own ("services.order."), for messages. It
     calls some templates with its own context, which also has runAsUser and global. */}}

{{/* Every object of one service. */}}
{{- define "service.objects" -}}
{{- include "service.check" . }}
{{- range $part := list "serviceAccount" "discovery" "service" "podsService" "allPodsService" "grpcService" "deployment" "migrationJob" "networkPolicy" "autoscaler" "disruptionBudget" "ingress" "httpRoute" "grpcExposure" "serviceMonitor" }}
---
{{ include (printf "service.%s" $part) $ }}
{{- end }}
{{- end }}

{{- define "service.noun" -}}
{{ .Values.noun | default .Chart.Name }}
{{- end }}

{{- define "service.prefixed" -}}
{{- $context := index . 0 }}{{ with $context.Values.global.namePrefix }}{{ . }}-{{ end }}{{ index . 1 }}
{{- end }}

{{- define "service.fullname" -}}
{{ include "service.prefixed" (list . (include "service.noun" .)) }}
{{- end }}

{{- define "service.selectorLabels" -}}
app.kubernetes.io/name: {{ include "service.noun" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "service.labels" -}}
{{ include "service.selectorLabels" . }}
app.kubernetes.io/part-of: shop
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: service-{{ .Chart.Version }}
{{- end }}

{{/* The registry of the project's images. It has no default, because there is no public registry of them. */}}
{{- define "service.registry" -}}
{{- required "global.image.registry is not set: name the registry that `make images push` filled, or use `make kind`, `make minikube` or `make k3d`, which build and load the images" .Values.global.image.registry -}}
{{- end }}

{{/* The image: repository with digest or tag. */}}
{{- define "service.image" -}}
{{- $repository := .Values.image.repository -}}
{{- if not $repository }}{{ $repository = printf "%s/shop-%s" (include "service.registry" .) (include "service.noun" .) }}{{ end -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .Values.image.tag | default .Values.global.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "service.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.runAsUser | int64 }}
runAsGroup: {{ .Values.runAsUser | int64 }}
fsGroup: {{ .Values.runAsUser | int64 }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "service.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "service.pullSecrets" -}}
{{- with .Values.global.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* One environment variable from a Secret: (list context NAME {secretName, key}). */}}
{{- define "service.secretVariable" -}}
{{- $context := index . 0 }}{{ $from := index . 2 -}}
- name: {{ index . 1 }}
  valueFrom:
    secretKeyRef:
      name: {{ tpl $from.secretName $context }}
      key: {{ $from.key }}
{{- end }}

{{/* The container that migrates the database. */}}
{{- define "service.migration" -}}
name: migrate
image: {{ include "service.image" . }}
imagePullPolicy: {{ .Values.global.image.pullPolicy }}
terminationMessagePolicy: FallbackToLogsOnError
command: [/app/.venv/bin/python, -m, shop.kit.migrate, {{ include "service.noun" . }}]
env: {{- include "service.database.directEnv" (list . .Values.secretEnv.SHOP_DATABASE_URL) | nindent 2 }}
securityContext: {{- include "service.containerSecurity" . | nindent 2 }}
resources: {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- include "service.database.caMount" . | indent 2 }}
{{- end }}

{{/* The settings as items of a container's `env`, templates rendered and empty values omitted. They are in the pod template
     and not in a ConfigMap, so that a pod of an earlier revision that restarts has the settings of that revision.
     A $ is doubled, because Kubernetes expands $(NAME). */}}
{{- define "service.settings" -}}
{{- $config := dict "SHOP_LOG_LEVEL" .Values.logLevel "SHOP_DRAIN_SECONDS" (toString .Values.shutdown.drainSeconds) }}
{{- with .Values.global.tracing.endpoint }}
{{- $_ := set $config "SHOP_TRACING_ENDPOINT" . }}
{{- $_ := set $config "SHOP_TRACE_SAMPLE_RATIO" (toString $.Values.global.tracing.sampleRatio) }}
{{- end }}
{{- if .Values.secretEnv.SHOP_DATABASE_URL }}
{{- if eq .Values.global.database.pooler "Transaction" }}{{ $_ := set $config "SHOP_DATABASE_POOLER" "transaction" }}{{ end }}
{{- if include "service.database.hasCa" . }}{{ $_ := set $config "PGSSLROOTCERT" (include "service.database.caFile" .) }}{{ end }}
{{- end }}
{{- range $name, $value := .Values.config }}
{{- $text := $value | default "" }}
{{- if contains "{{" $text }}{{ $text = tpl $text $ }}{{ end }}
{{- if $text }}{{ $_ := set $config $name $text }}{{ end }}
{{- end }}
{{- range .Values.env }}{{ $_ := unset $config .name }}{{ end }}
{{- range $name, $text := $config }}
- {name: {{ $name }}, value: {{ $text | replace "$" "$$" | toJson }}}
{{- end }}
{{- end }}

{{- define "service.usesServiceMonitor" -}}
{{- $asked := .Values.global.serviceMonitors }}
{{- if or (eq $asked "Always") (and (eq $asked "Auto") (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1/ServiceMonitor")) }}yes{{ end }}
{{- end }}

{{/* Checks that the schema cannot express. */}}
{{- define "service.check" -}}
{{- $field := .FieldPrefix | default "" }}
{{- with .Values.autoscaling }}
{{- if and .enabled (lt (int .maxReplicas) (int .minReplicas)) }}
{{- fail (printf "%sautoscaling.maxReplicas (%d) must be at least minReplicas (%d)" $field (int .maxReplicas) (int .minReplicas)) }}
{{- end }}
{{- if and .enabled (not .targetCPUUtilizationPercentage) (not .targetRequestsPerSecond) }}
{{- fail (printf "%sautoscaling needs targetCPUUtilizationPercentage or targetRequestsPerSecond" $field) }}
{{- end }}
{{- end }}
{{- if and (not (kindIs "invalid" .Values.podDisruptionBudget.minAvailable)) (not (kindIs "invalid" .Values.podDisruptionBudget.maxUnavailable)) }}
{{- fail (printf "%spodDisruptionBudget takes minAvailable or maxUnavailable, not both: set the other to null" $field) }}
{{- end }}
{{- with .Values.global.ipFamilies }}
{{- if and (gt (len .) 1) (not (has $.Values.global.ipFamilyPolicy (list "PreferDualStack" "RequireDualStack"))) }}
{{- fail (printf "global.ipFamilies names %s, which needs global.ipFamilyPolicy PreferDualStack or RequireDualStack" (join " and " .)) }}
{{- end }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) }}
{{- fail (printf "%singress.enabled needs %singress.host, such as shop.example.com" $field $field) }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.gatewayRef.name) }}
{{- fail (printf "%shttpRoute.enabled needs %shttpRoute.gatewayRef.name, the Gateway" $field $field) }}
{{- end }}
{{- include "service.checkGrpc" . }}
{{- if and .Values.migrations.enabled (not .Values.secretEnv.SHOP_DATABASE_URL) }}
{{- fail (printf "%smigrations.enabled needs %ssecretEnv.SHOP_DATABASE_URL, the database to migrate" $field $field) }}
{{- end }}
{{- range $name, $from := .Values.secretEnv }}
{{- if and $from (get $.Values.config $name) }}
{{- fail (printf "%ssecretEnv.%s is also in %sconfig: set that to \"\"" $field $name $field) }}
{{- end }}
{{- end }}
{{- end }}

{{/* (list POLICY FAMILIES): the IP families of a Service; empty ones are left to the cluster. */}}
{{- define "service.ipFamilies" -}}
{{- with index . 0 }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with index . 1 }}
ipFamilies: {{ toJson . }}
{{- end }}
{{- end }}

{{/* The line of a Job's spec with the time to live of a finished one, after a line break; empty without a limit. */}}
{{- define "service.jobTtl" }}
{{- with .Values.global.jobTtlSeconds }}
ttlSecondsAfterFinished: {{ int64 . }}
{{- end }}
{{- end }}
