{{- define "service.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "service.fullname" . }}
  labels: {{- include "service.labels" . | nindent 4 }}
  {{- with .Values.service.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ .Values.service.type }}
  {{- with include "service.ipFamilies" (list .Values.global.ipFamilyPolicy .Values.global.ipFamilies) | trim }}{{ . | nindent 2 }}{{ end }}
  selector: {{- include "service.selectorLabels" . | nindent 4 }}
  ports:
    - name: http
      port: 8000
      targetPort: http
      protocol: TCP
      appProtocol: http
      {{- if and .Values.service.nodePort (ne .Values.service.type "ClusterIP") }}
      nodePort: {{ .Values.service.nodePort }}
      {{- end }}
    {{- range .Values.extraPorts }}
    - name: {{ .name }}
      port: {{ .port }}
      targetPort: {{ .name }}
      protocol: TCP
      {{- if eq .name "grpc" }}
      # By this a Gateway speaks HTTP/2 to the pods.
      appProtocol: kubernetes.io/h2c
      {{- end }}
    {{- end }}
{{- end }}
