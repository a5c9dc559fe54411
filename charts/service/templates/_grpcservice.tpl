{{- /* Headless: a gRPC client keeps its connections, so it balances over the pods' own addresses. */ -}}
{{- define "service.grpcService" -}}
{{- range .Values.extraPorts }}
{{- if eq .name "grpc" }}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "service.fullname" $ }}-grpc
  labels: {{- include "service.labels" $ | nindent 4 }}
spec:
  type: ClusterIP
  clusterIP: None
  {{- with include "service.ipFamilies" (list $.Values.global.ipFamilyPolicy $.Values.global.ipFamilies) | trim }}{{ . | nindent 2 }}{{ end }}
  selector: {{- include "service.selectorLabels" $ | nindent 4 }}
  ports:
    - name: grpc
      port: {{ .port }}
      targetPort: grpc
      protocol: TCP
      appProtocol: grpc
{{- end }}
{{- end }}
{{- end }}
