{{- define "service.ingress" -}}
{{- with .Values.ingress }}
{{- if .enabled }}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ include "service.fullname" $ }}
  labels: {{- include "service.labels" $ | nindent 4 }}
  {{- with .annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec: {{- include "service.ingressSpec" (list $ . (list .path) "http") | trim | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* (list context SETTINGS PATHS PORT): SETTINGS has host, className and tlsSecretName. */}}
{{- define "service.ingressSpec" -}}
{{- $context := index . 0 }}
{{- $port := index . 3 }}
{{- $paths := index . 2 }}
{{- with index . 1 }}
{{- with .className }}
ingressClassName: {{ . }}
{{- end }}
{{- if .tlsSecretName }}
tls:
  - hosts: [{{ .host | quote }}]
    secretName: {{ .tlsSecretName }}
{{- end }}
rules:
  - host: {{ .host | quote }}
    http:
      paths:
        {{- range $paths }}
        - path: {{ . }}
          pathType: Prefix
          backend:
            service:
              name: {{ include "service.fullname" $context }}
              port: {name: {{ $port }}}
        {{- end }}
{{- end }}
{{- end }}
