{{/* The right to find instances, and nothing else. */}}
{{- define "service.discovery" -}}
{{- if eq .Values.global.discovery "EndpointSlices" }}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ include "service.fullname" . }}
  labels: {{- include "service.labels" . | nindent 4 }}
rules:
  - apiGroups: [discovery.k8s.io]
    resources: [endpointslices]
    verbs: [list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ include "service.fullname" . }}
  labels: {{- include "service.labels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ include "service.fullname" . }}
subjects:
  - kind: ServiceAccount
    name: {{ include "service.fullname" . }}
    namespace: {{ .Release.Namespace }}
{{- end }}
{{- end }}
