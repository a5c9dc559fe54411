{{/* Prometheus' configuration. Series get the labels that a ServiceMonitor of charts/shop gives them, so that the same rules and
     dashboards serve here and under the Prometheus operator. */}}
{{- define "observability.prometheus.config" -}}
{{- $interval := printf "%ds" (int .Values.scrape.intervalSeconds) -}}
global:
  scrape_interval: {{ $interval }}
  scrape_timeout: {{ $interval }}
  evaluation_interval: {{ $interval }}
rule_files: [/etc/prometheus/rules/*.yaml]
{{- if .Values.alertmanager.enabled }}
alerting:
  alertmanagers:
    - static_configs:
        - targets: ["{{ include "observability.name" (list . "alertmanager") }}:9093"]
{{- end }}
scrape_configs:
  - job_name: shops
    # What one target may send; a service has at most some thousand series.
    sample_limit: 20000
    body_size_limit: 16MB
    kubernetes_sd_configs:
      {{- range $label := list "app.kubernetes.io/part-of=shop" "app.kubernetes.io/name=shop-operator" }}
      - role: pod
        {{- with $.Values.namespaces }}
        namespaces: {names: {{ toJson . }}}
        {{- end }}
        selectors:
          - {role: pod, label: {{ $label | quote }}}
      {{- end }}
    relabel_configs:
      - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape], regex: "true", action: keep}
      - {source_labels: [__meta_kubernetes_pod_container_port_name], regex: http, action: keep}
      # Pods of Jobs that have ended.
      - {source_labels: [__meta_kubernetes_pod_phase], regex: Succeeded|Failed, action: drop}
      - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_path], regex: (.+), target_label: __metrics_path__}
      - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
      - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
      - {source_labels: [__meta_kubernetes_pod_container_name], target_label: container}
      - {source_labels: [__meta_kubernetes_pod_label_app_kubernetes_io_name], target_label: app_kubernetes_io_name}
      - {source_labels: [__meta_kubernetes_pod_label_app_kubernetes_io_instance], target_label: app_kubernetes_io_instance}
      - {source_labels: [app_kubernetes_io_name], target_label: job}
      # A ServiceMonitor of the operator has no such labels; its release is not a shop.
      - {source_labels: [job], regex: shop-operator, target_label: app_kubernetes_io_instance, replacement: ""}
  {{- if .Values.scrape.volumes }}
  - job_name: kubelet
    scheme: https
    sample_limit: 200000
    body_size_limit: 64MB
    authorization: {credentials_file: /var/run/secrets/kubernetes.io/serviceaccount/token}
    # Kubelets often have certificates that they signed themselves.
    tls_config: {insecure_skip_verify: true}
    kubernetes_sd_configs:
      - role: node
    metric_relabel_configs:
      - {source_labels: [__name__], regex: kubelet_volume_stats_(available|capacity)_bytes, action: keep}
      {{- with .Values.namespaces }}
      - {source_labels: [namespace], regex: {{ join "|" . | quote }}, action: keep}
      {{- end }}
  {{- end }}
{{- end }}
