{{/* Shared by the bundled stores. Each template takes (list context NAME ...). */}}

{{/* Not headless, so that the address stays the same when the pod is replaced and no client waits for its DNS cache. */}}
{{- define "shop.store.service" -}}
{{- $context := index . 0 }}{{ $name := index . 1 -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "shop.name" (list $context $name) }}
  labels: {{- include "shop.labels" (list $context $name) | nindent 4 }}
spec:
  type: ClusterIP
  {{- with include "service.ipFamilies" (list $context.Values.global.ipFamilyPolicy $context.Values.global.ipFamilies) | trim }}{{ . | nindent 2 }}{{ end }}
  selector: {{- include "shop.selector" (list $context $name) | nindent 4 }}
  ports:
    - {name: {{ $name }}, port: {{ index . 2 }}, targetPort: {{ $name }}, protocol: TCP}
{{- end }}

{{- define "shop.store.pod" -}}
{{- $context := index . 0 -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- include "service.pullSecrets" $context }}
securityContext: {{- include "service.podSecurity" $context | nindent 2 }}
{{- end }}

{{/* (list context NAME VALUES): the store's volume claim. */}}
{{- define "shop.store.claims" -}}
{{- $values := index . 2 -}}
volumeClaimTemplates:
  - metadata:
      name: data
      labels: {{- include "shop.selector" (list (index . 0) (index . 1)) | nindent 8 }}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with $values.storageClassName }}
      storageClassName: {{ . }}
      {{- end }}
      resources:
        requests: {storage: {{ $values.storage }}}
# Data is only deleted by hand.
persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Retain}
{{- end }}

{{/* (list context NAME CALLERS): only the callers may connect to the store's port. */}}
{{- define "shop.store.policy" -}}
{{- $context := index . 0 }}{{ $name := index . 1 -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "shop.name" (list $context $name) }}
  labels: {{- include "shop.labels" (list $context $name) | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{- include "shop.selector" (list $context $name) | nindent 6 }}
  policyTypes: [Ingress]
  ingress:
    - from:
        - podSelector:
            matchLabels:
              app.kubernetes.io/instance: {{ $context.Release.Name }}
            matchExpressions:
              - {key: app.kubernetes.io/name, operator: In, values: [{{ join ", " (index . 2) }}]}
      ports:
        - {port: {{ $name }}, protocol: TCP}
{{- end }}
