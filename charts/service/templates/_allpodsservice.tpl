{{/* Headless, and with the pods that are not ready: what watches the shop asks each of them. */}}
{{- define "service.allPodsService" -}}
{{- if .Values.global.allPodsServices }}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "service.fullname" . }}-all
  labels: {{- include "service.labels" . | nindent 4 }}
spec:
  type: ClusterIP
  clusterIP: None
  publishNotReadyAddresses: true
  {{- with include "service.ipFamilies" (list .Values.global.ipFamilyPolicy .Values.global.ipFamilies) | trim }}{{ . | nindent 2 }}{{ end }}
  selector: {{- include "service.selectorLabels" . | nindent 4 }}
  ports:
    # Not http, by which a ServiceMonitor would scrape each pod a second time.
    - name: pod
      port: 8000
      targetPort: http
      protocol: TCP
      appProtocol: http
{{- end }}
{{- end }}
