{{/* What the gateway may do where Models are: look. */}}
{{- define "fairlead.gatewayRules" -}}
# Which models there are.
- apiGroups: [fairlead.dev]
  resources: [models]
  verbs: [list, watch]
# Where their engines answer.
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
{{- with .Values.gateway.upstreamSecrets }}
# The API keys of upstreams; by name, and no other.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: {{- mustToYaml . | nindent 4 }}
  verbs: [get]
{{- end }}
{{- end }}
