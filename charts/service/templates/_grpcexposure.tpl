{{/* Access from outside to the gRPC services. Their paths, /PACKAGE.SERVICE/METHOD, are no paths of the gateway, so that
     an Ingress or HTTPRoute may have the gateway's host name. */}}

{{- define "service.grpcExposure" -}}
{{- if eq .Values.grpc.exposure "Ingress" }}{{ include "service.grpcIngress" . }}
{{- else if ne .Values.grpc.exposure "None" }}{{ include "service.grpcRoute" . }}
{{- end }}
{{- end }}

{{- define "service.grpcIngress" -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ include "service.fullname" . }}-grpc
  labels: {{- include "service.labels" . | nindent 4 }}
  annotations: {{- merge (dict) .Values.grpc.annotations (dict "nginx.ingress.kubernetes.io/backend-protocol" "GRPC") | toYaml | nindent 4 }}
spec:
  {{- $paths := list }}
  {{- range .Values.grpc.services }}{{ $paths = append $paths (printf "/%s" .) }}{{ end }}
  {{- include "service.ingressSpec" (list . .Values.grpc $paths "grpc") | trim | nindent 2 }}
{{- end }}

{{- define "service.grpcRoute" -}}
apiVersion: gateway.networking.k8s.io/v1
kind: {{ .Values.grpc.exposure }}
metadata:
  name: {{ include "service.fullname" . }}-grpc
  labels: {{- include "service.labels" . | nindent 4 }}
  {{- with .Values.grpc.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  parentRefs:
    - {{- toYaml .Values.grpc.gatewayRef | nindent 6 }}
  {{- with .Values.grpc.host }}
  hostnames: [{{ . | quote }}]
  {{- end }}
  rules:
    - matches:
        {{- range .Values.grpc.services }}
        {{- if eq $.Values.grpc.exposure "GRPCRoute" }}
        - method: {service: {{ . }}}
        {{- else }}
        - path: {type: PathPrefix, value: /{{ . }}}
        {{- end }}
        {{- end }}
      backendRefs:
        - name: {{ include "service.fullname" . }}
          port: {{ include "service.grpcPort" . }}
{{- end }}

{{/* The number of the port named grpc; empty without one. */}}
{{- define "service.grpcPort" -}}
{{- range .Values.extraPorts }}{{ if eq .name "grpc" }}{{ .port }}{{ end }}{{ end }}
{{- end }}

{{/* Checks that the schema cannot express. */}}
{{- define "service.checkGrpc" -}}
{{- $field := .FieldPrefix | default "" }}
{{- with .Values.grpc }}
{{- if ne .exposure "None" }}
{{- if or (not .services) (not (include "service.grpcPort" $)) }}
{{- fail (printf "%sgrpc.exposure %s needs %sgrpc.services, and a port named grpc in %sextraPorts" $field .exposure $field $field) }}
{{- end }}
{{- if and (eq .exposure "Ingress") (not .host) }}
{{- fail (printf "%sgrpc.exposure Ingress needs %sgrpc.host, such as shop.example.com" $field $field) }}
{{- end }}
{{- if and (ne .exposure "Ingress") (not .gatewayRef.name) }}
{{- fail (printf "%sgrpc.exposure %s needs %sgrpc.gatewayRef.name, the Gateway" $field .exposure $field) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
