{{/* (list context NAME CONFIG REPLICAS): ConfigMap and Deployment of a collector with the file CONFIG of observability/collector. */}}
{{- define "observability.collector" -}}
{{- $context := index . 0 }}{{ $config := printf "files/collector/%s.yaml" (index . 2) -}}
{{- $values := $context.Values.collector -}}
apiVersion: v1
kind: ConfigMap
{{ include "observability.metadata" . }}
data:
  config.yaml: |
    {{- $context.Files.Get $config | nindent 4 }}
---
apiVersion: apps/v1
kind: Deployment
{{ include "observability.metadata" . }}
spec:
  replicas: {{ index . 3 }}
  selector:
    matchLabels: {{- include "observability.selector" . | nindent 6 }}
  template:
    metadata:
      labels: {{- include "observability.selector" . | nindent 8 }}
      annotations:
        checksum/config: {{ $context.Files.Get $config | sha256sum }}
    spec:
      {{- include "observability.pod" (list $context (index . 1) "") | nindent 6 }}
      containers:
        - name: collector
          {{- include "observability.container" (list $context $values) | nindent 10 }}
          args: [--config=/etc/otelcol/config.yaml]
          env:
            {{- if eq (index . 2) "tail-sampling" }}
            - {name: TRACES_BACKEND, value: {{ $values.backend | quote }}}
            - {name: TRACES_BACKEND_INSECURE, value: {{ $values.insecure | quote }}}
            {{- else }}
            - {name: TAIL_SAMPLING_HOST, value: {{ include "observability.name" (list $context "tail-sampling") }}}
            {{- end }}
          ports:
            - {name: http, containerPort: 4318, protocol: TCP}
            - {name: grpc, containerPort: 4317, protocol: TCP}
            - {name: health, containerPort: 13133, protocol: TCP}
          {{- include "observability.probes" (list "health" "/" "/" 60) | nindent 10 }}
          volumeMounts:
            - {name: config, mountPath: /etc/otelcol, readOnly: true}
      volumes:
        - name: config
          configMap: {name: {{ include "observability.name" . }}}
{{- end }}
