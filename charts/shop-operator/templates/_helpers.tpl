{{- define "operator.selectorLabels" -}}
app.kubernetes.io/name: shop-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "operator.labels" -}}
{{ include "operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: shop-operator-{{ .Chart.Version }}
{{- end }}

{{/* No default, because there is no public registry of these images. */}}
{{- define "operator.registry" -}}
{{- required "image.registry is not set: name the registry that `make images push` filled, or use `make kind INSTALL=operator` (also minikube, k3d), which builds and loads the images" .Values.image.registry -}}
{{- end }}
