{{- define "service.networkPolicy" -}}
{{- if .Values.global.networkPolicies.enabled }}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "service.fullname" . }}
  labels: {{- include "service.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{- include "service.selectorLabels" . | nindent 6 }}
  # What is not listed is refused.
  policyTypes: [Ingress]
  {{- $peers := .Values.networkPolicy.from }}
  {{- $grpcOpen := ne .Values.grpc.exposure "None" }}
  {{- if or .Values.networkPolicy.open .Values.networkPolicy.callers $peers .Values.global.networkPolicies.scrapeFrom $grpcOpen }}
  ingress:
    {{- if .Values.networkPolicy.open }}
    - ports: [{port: http, protocol: TCP}]
    {{- else if or .Values.networkPolicy.callers $peers }}
    - from:
        {{- with .Values.networkPolicy.callers }}
        - podSelector:
            matchLabels:
              app.kubernetes.io/instance: {{ $.Release.Name }}
            matchExpressions:
              - {key: app.kubernetes.io/name, operator: In, values: [{{ join ", " . }}]}
        {{- end }}
        {{- with $peers }}{{ toYaml . | nindent 8 }}{{ end }}
      ports:
        - {port: http, protocol: TCP}
        {{- range .Values.extraPorts }}
        - {port: {{ .name }}, protocol: TCP}
        {{- end }}
    {{- end }}
    {{- if $grpcOpen }}
    - ports: [{port: grpc, protocol: TCP}]
    {{- end }}
    {{- with .Values.global.networkPolicies.scrapeFrom }}
    - from: {{- toYaml . | nindent 8 }}
      ports: [{port: http, protocol: TCP}]
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}
