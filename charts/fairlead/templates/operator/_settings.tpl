{{/* The operator's settings: what this release knows of itself, and over it what the user says. */}}
{{- define "fairlead.operatorSettings" -}}
{{- $own := dict
  "lease" (dict "name" (include "fairlead.operator" .))
  "gatewayUrl" (include "fairlead.gatewayUrl" .)
  "internalToken" (dict "name" (include "fairlead.tokenSecret" .) "key" .Values.internalToken.key)
  "access" (dict
    "gateway" (include "fairlead.peers" (list . "gateway") | fromYamlArray)
    "operator" (include "fairlead.peers" (list . "operator") | fromYamlArray)) -}}
{{ mergeOverwrite $own (deepCopy .Values.operator.settings) | mustToYaml }}
{{- end }}

{{/* Where clients within the cluster reach the gateway. */}}
{{- define "fairlead.gatewayUrl" -}}
{{- $port := int .Values.gateway.service.port -}}
http://{{ include "fairlead.gateway" . }}.{{ .Release.Namespace }}.svc{{ if ne $port 80 }}:{{ $port }}{{ end }}
{{- end }}

{{/* This release's pods of a component, as peers of a NetworkPolicy in any namespace. */}}
{{- define "fairlead.peers" -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ (index . 0).Release.Namespace | quote }}
  podSelector:
    matchLabels: {{- include "fairlead.selector" . | nindent 6 }}
{{- end }}
