{{- define "service.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "service.fullname" . }}
  labels: {{- include "service.labels" . | nindent 4 }}
spec:
  {{- if not .Values.autoscaling.enabled }}
  replicas: {{ .Values.replicas }}
  {{- end }}
  revisionHistoryLimit: {{ .Values.revisionHistoryLimit }}
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxSurge: {{ .Values.maxSurge }}, maxUnavailable: 0}
  selector:
    matchLabels: {{- include "service.selectorLabels" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "service.selectorLabels" . | nindent 8 }}
        app.kubernetes.io/part-of: shop
        {{- with .Values.podLabels }}{{ toYaml . | nindent 8 }}{{ end }}
      {{- if or .Values.prometheusAnnotations .Values.podAnnotations }}
      annotations:
        {{- if .Values.prometheusAnnotations }}
        prometheus.io/scrape: "true"
        prometheus.io/port: "8000"
        prometheus.io/path: /metrics
        {{- end }}
        {{- with .Values.podAnnotations }}{{ toYaml . | nindent 8 }}{{ end }}
      {{- end }}
    spec:
      serviceAccountName: {{ include "service.fullname" . }}
      automountServiceAccountToken: {{ eq .Values.global.discovery "EndpointSlices" }}
      # The variables that Kubernetes derives from Services could be mistaken for settings.
      enableServiceLinks: false
      {{- include "service.pullSecrets" . | nindent 6 }}
      {{- with .Values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      securityContext: {{- include "service.podSecurity" . | nindent 8 }}
      terminationGracePeriodSeconds: {{ add .Values.shutdown.preStopSeconds .Values.shutdown.drainSeconds 5 }}
      {{- if and .Values.migrations.enabled (eq .Values.migrations.mode "InitContainer") }}
      initContainers:
        - {{- include "service.migration" . | nindent 10 }}
      {{- end }}
      containers:
        - name: {{ include "service.noun" . }}
          image: {{ include "service.image" . }}
          imagePullPolicy: {{ .Values.global.image.pullPolicy }}
          terminationMessagePolicy: FallbackToLogsOnError
          {{- with .Values.configMaps }}
          envFrom:
            {{- range . }}
            - configMapRef: {name: {{ tpl . $ }}}
            {{- end }}
          {{- end }}
          env:
            {{- include "service.settings" . | nindent 12 }}
            {{- if eq .Values.global.discovery "EndpointSlices" }}
            - {name: SHOP_DISCOVERY, value: kubernetes}
            {{- else if eq .Values.global.discovery "DNS" }}
            - {name: SHOP_DISCOVERY, value: dns}
            {{- end }}
            {{- if .Values.global.tracing.endpoint }}
            - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
            - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
            - name: OTEL_RESOURCE_ATTRIBUTES
              value: service.namespace={{ .Release.Name }},k8s.namespace.name={{ .Release.Namespace }},k8s.deployment.name={{ include "service.fullname" . }},k8s.pod.name=$(POD_NAME),k8s.node.name=$(NODE_NAME)
            {{- end }}
            {{- range $name, $from := .Values.secretEnv }}
            {{- if $from }}{{ include "service.secretVariable" (list $ $name $from) | nindent 12 }}{{ end }}
            {{- end }}
            {{- with .Values.env }}{{ toYaml . | nindent 12 }}{{ end }}
          ports:
            - {name: http, containerPort: 8000, protocol: TCP}
            {{- range .Values.extraPorts }}
            - {name: {{ .name }}, containerPort: {{ .port }}, protocol: TCP}
            {{- end }}
          startupProbe:
            httpGet: {path: /health/live, port: http}
            periodSeconds: {{ .Values.probes.startup.periodSeconds }}
            failureThreshold: {{ .Values.probes.startup.failureThreshold }}
            timeoutSeconds: {{ .Values.probes.timeoutSeconds }}
          livenessProbe:
            httpGet: {path: /health/live, port: http}
            periodSeconds: {{ .Values.probes.liveness.periodSeconds }}
            failureThreshold: {{ .Values.probes.liveness.failureThreshold }}
            timeoutSeconds: {{ .Values.probes.timeoutSeconds }}
          readinessProbe:
            httpGet: {path: /health/ready, port: http}
            periodSeconds: {{ .Values.probes.readiness.periodSeconds }}
            failureThreshold: {{ .Values.probes.readiness.failureThreshold }}
            timeoutSeconds: {{ .Values.probes.timeoutSeconds }}
          lifecycle:
            preStop:
              # Done by the kubelet, so the image needs no program for it.
              sleep: {seconds: {{ .Values.shutdown.preStopSeconds }}}
          securityContext: {{- include "service.containerSecurity" . | nindent 12 }}
          resources: {{- toYaml .Values.resources | nindent 12 }}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            {{- if .Values.secretEnv.SHOP_DATABASE_URL }}{{ include "service.database.caMount" . | indent 12 }}{{ end }}
            {{- if .Values.secretFiles }}
            - {name: secrets, mountPath: /run/secrets/shop, readOnly: true}
            {{- end }}
            {{- with .Values.volumeMounts }}{{ toYaml . | nindent 12 }}{{ end }}
      volumes:
        - name: tmp
          emptyDir: {sizeLimit: 64Mi}
        {{- if .Values.secretEnv.SHOP_DATABASE_URL }}{{ include "service.database.caVolume" . | indent 8 }}{{ end }}
        {{- if .Values.secretFiles }}
        - name: secrets
          projected:
            defaultMode: 0440
            sources:
              {{- range $name, $from := .Values.secretFiles }}
              - secret:
                  name: {{ tpl $from.secretName $ }}
                  items: [{key: {{ $from.key }}, path: {{ $name }}}]
              {{- end }}
        {{- end }}
        {{- with .Values.volumes }}{{ toYaml . | nindent 8 }}{{ end }}
      {{- if .Values.topologySpread.enabled }}
      topologySpreadConstraints:
        {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
        - maxSkew: 1
          topologyKey: {{ . }}
          whenUnsatisfiable: {{ $.Values.topologySpread.whenUnsatisfiable }}
          labelSelector:
            matchLabels: {{- include "service.selectorLabels" $ | nindent 14 }}
          matchLabelKeys: [pod-template-hash]
        {{- end }}
      {{- end }}
      {{- with .Values.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.affinity }}
      affinity: {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}
