{{/* Most templates here take (list context NAME), NAME being that of a component such as prometheus. */}}

{{- define "observability.name" -}}
{{ (index . 0).Release.Name }}-{{ index . 1 }}
{{- end }}

{{- define "observability.selector" -}}
app.kubernetes.io/name: {{ index . 1 }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
{{- end }}

{{- define "observability.labels" -}}
{{- $context := index . 0 -}}
{{ include "observability.selector" . }}
app.kubernetes.io/part-of: observability
app.kubernetes.io/version: {{ $context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $context.Release.Service }}
helm.sh/chart: observability-{{ $context.Chart.Version }}
{{- end }}

{{- define "observability.metadata" -}}
metadata:
  name: {{ include "observability.name" . }}
  labels: {{- include "observability.labels" . | nindent 4 }}
{{- end }}

{{/* (list context NAME TOKEN): the pod's part of a spec that all components share. Only TOKEN "yes" gets a token of the API. */}}
{{- define "observability.pod" -}}
{{- $values := (index . 0).Values -}}
serviceAccountName: {{ include "observability.name" . }}
automountServiceAccountToken: {{ eq (index . 2) "yes" }}
enableServiceLinks: false
{{- with $values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ $values.runAsUser | int64 }}
  runAsGroup: {{ $values.runAsUser | int64 }}
  fsGroup: {{ $values.runAsUser | int64 }}
  seccompProfile: {type: RuntimeDefault}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* (list context VALUES): the container's part that all components share. */}}
{{- define "observability.container" -}}
image: {{ (index . 1).image }}
imagePullPolicy: {{ (index . 0).Values.image.pullPolicy }}
terminationMessagePolicy: FallbackToLogsOnError
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
resources: {{- toYaml (index . 1).resources | nindent 2 }}
{{- end }}

{{/* (list PORT LIVE READY STARTUP_S): probes of these paths; the first start may take STARTUP_S seconds. */}}
{{- define "observability.probes" -}}
startupProbe:
  httpGet: {path: {{ index . 2 }}, port: {{ index . 0 }}}
  periodSeconds: 1
  failureThreshold: {{ index . 3 }}
  timeoutSeconds: 3
livenessProbe:
  httpGet: {path: {{ index . 1 }}, port: {{ index . 0 }}}
  periodSeconds: 10
  failureThreshold: 6
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: {{ index . 2 }}, port: {{ index . 0 }}}
  periodSeconds: 5
  failureThreshold: 2
  timeoutSeconds: 3
{{- end }}

{{- define "observability.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
{{ include "observability.metadata" . }}
automountServiceAccountToken: false
{{- end }}

{{/* (list context NAME PORT...): the Service of a component, each port being {name, port}. */}}
{{- define "observability.service" -}}
apiVersion: v1
kind: Service
{{ include "observability.metadata" . }}
spec:
  selector: {{- include "observability.selector" . | nindent 4 }}
  ports:
  {{- range slice . 2 }}
    - {name: {{ .name }}, port: {{ .port }}, targetPort: {{ .name }}, protocol: TCP}
  {{- end }}
{{- end }}

{{/* (list context NAME VALUES): the end of a StatefulSet: its volume claim, if there is one. */}}
{{- define "observability.claims" -}}
{{- $values := index . 2 -}}
{{- if $values.storage -}}
volumeClaimTemplates:
  - metadata:
      name: data
      labels: {{- include "observability.selector" . | nindent 8 }}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with $values.storageClassName }}
      storageClassName: {{ . }}
      {{- end }}
      resources:
        requests: {storage: {{ $values.storage }}}
# Data is only deleted by hand.
persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Retain}
{{- end }}
{{- end }}

{{/* VALUES: the volume `data` of a pod without a claim. */}}
{{- define "observability.temporary" -}}
{{- if not .storage -}}
- name: data
  emptyDir: {}
{{- end }}
{{- end }}

{{/* (list context NAME PORTS CALLERS OPEN): who may connect to a component: CALLERS of this release and networkPolicy.from,
     or with OPEN every client. */}}
{{- define "observability.policy" -}}
{{- $context := index . 0 }}{{ $ports := index . 2 }}{{ $callers := index . 3 }}{{ $open := index . 4 }}
{{- if $context.Values.networkPolicy.enabled -}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
{{ include "observability.metadata" . }}
spec:
  podSelector:
    matchLabels: {{- include "observability.selector" . | nindent 6 }}
  policyTypes: [Ingress]
  {{- if or $open $callers $context.Values.networkPolicy.from }}
  ingress:
    -
      {{- if not $open }}
      from:
        {{- if $callers }}
        - podSelector:
            matchLabels: {app.kubernetes.io/instance: {{ $context.Release.Name }}}
            matchExpressions:
              - {key: app.kubernetes.io/name, operator: In, values: [{{ join ", " $callers }}]}
        {{- end }}
        {{- with $context.Values.networkPolicy.from }}{{ toYaml . | nindent 8 }}{{ end }}
      {{- end }}
      ports:
      {{- range $ports }}
        - {port: {{ . }}, protocol: TCP}
      {{- end }}
  {{- end }}
{{- end }}
{{- end }}

{{/* The value in the existing Secret, else a new one: (list context SECRET KEY). */}}
{{- define "observability.kept" -}}
{{- $found := get ((lookup "v1" "Secret" (index . 0).Release.Namespace (index . 1)).data | default dict) (index . 2) -}}
{{- if $found }}{{ $found | b64dec }}{{ else }}{{ randAlpha 1 }}{{ randAlphaNum 31 }}{{ end }}
{{- end }}
