{{- define "service.httpRoute" -}}
{{- with .Values.httpRoute }}
{{- if .enabled }}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: {{ include "service.fullname" $ }}
  labels: {{- include "service.labels" $ | nindent 4 }}
  {{- with .annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  parentRefs:
    - {{- toYaml .gatewayRef | nindent 6 }}
  {{- with .hostnames }}
  hostnames: {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    - matches:
        - path: {type: PathPrefix, value: /}
      backendRefs:
        - name: {{ include "service.fullname" $ }}
          port: 8000
      # Otherwise some controllers end requests after 15 s, and with them the event streams of orders. The gateway has
      # its own timeouts.
      timeouts: {request: 0s, backendRequest: 0s}
{{- end }}
{{- end }}
{{- end }}
