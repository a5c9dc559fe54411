{{- define "service.migrationJob" -}}
{{- if and .Values.migrations.enabled (eq .Values.migrations.mode "Job") }}
{{- $spec := include "service.migrations.spec" . }}
# A Job is immutable, so its name contains a hash of its spec. A name has at most 63 characters.
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ printf "%s-migrate" (include "service.fullname" .) | trunc 54 | trimSuffix "-" }}-{{ printf "%s%s" (include "service.fullname" .) $spec | sha256sum | trunc 8 }}
  labels:
    {{- include "service.migrations.labels" . | nindent 4 }}
    app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
    app.kubernetes.io/managed-by: {{ .Release.Service }}
    helm.sh/chart: service-{{ .Chart.Version }}
spec: {{- $spec | nindent 2 }}
{{- end }}
{{- end }}

{{/* Not the labels of the service, because its Service would select these pods. */}}
{{- define "service.migrations.labels" -}}
app.kubernetes.io/name: migrate
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ include "service.noun" . }}
app.kubernetes.io/part-of: shop
{{- end }}

{{- define "service.migrations.spec" -}}
# Two and a half minutes of trying: a database that restarts is back by then.
backoffLimit: 4
activeDeadlineSeconds: 1800{{ include "service.jobTtl" . }}
template:
  metadata:
    labels: {{- include "service.migrations.labels" . | nindent 6 }}
  spec:
    serviceAccountName: {{ include "service.fullname" . }}
    automountServiceAccountToken: false
    enableServiceLinks: false
    {{- include "service.pullSecrets" . | nindent 4 }}
    {{- with .Values.priorityClassName }}
    priorityClassName: {{ . }}
    {{- end }}
    securityContext: {{- include "service.podSecurity" . | nindent 6 }}
    # Pods of failed tries stay, and with them what the migration said; OnFailure takes them away when the Job gives up.
    restartPolicy: Never
    containers:
      - {{- include "service.migration" . | nindent 8 }}
    volumes:
      - name: tmp
        emptyDir: {sizeLimit: 64Mi}
      {{- include "service.database.caVolume" . | indent 6 }}
    {{- with .Values.nodeSelector }}
    nodeSelector: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.tolerations }}
    tolerations: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.affinity }}
    affinity: {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end }}
