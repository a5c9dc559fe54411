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
      # Controllers end a request after 15 s or so otherwise, and with it the stream of an order's events. The gateway
      # has time limits of its own.
      timeouts: {request: 0s, backendRequest: 0s}
{{- end }}
{{- end }}
{{- end }}
