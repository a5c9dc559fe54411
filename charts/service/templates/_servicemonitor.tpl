{{- define "service.serviceMonitor" -}}
{{- if include "service.usesServiceMonitor" . }}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ include "service.fullname" . }}
  labels:
    {{- include "service.labels" . | nindent 4 }}
    {{- with merge (dict) .Values.serviceMonitor.labels .Values.global.monitorLabels }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  selector:
    matchLabels: {{- include "service.selectorLabels" . | nindent 6 }}
  # The shop's alerts and dashboard select series of one service or shop by these.
  targetLabels: [app.kubernetes.io/name, app.kubernetes.io/instance]
  endpoints:
    - port: http
      path: /metrics
      interval: {{ .Values.serviceMonitor.interval }}
{{- end }}
{{- end }}
