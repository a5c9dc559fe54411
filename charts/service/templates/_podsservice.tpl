{{/* Headless: its name has the address of each pod that is ready, for services that balance over them. */}}
{{- define "service.podsService" -}}
{{- if or (eq .Values.global.discovery "DNS") .Values.global.keepPodsServices }}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "service.fullname" . }}-pods
  labels: {{- include "service.labels" . | nindent 4 }}
spec:
  type: ClusterIP
  clusterIP: None
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
