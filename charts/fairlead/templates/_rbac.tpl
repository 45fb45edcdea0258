{{/* A role and its binding, for a dict of root, component, kind, name, namespace (of a Role) and rules. */}}
{{- define "fairlead.role" -}}
{{- $labels := include "fairlead.labels" (list .root .component) -}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}
metadata:
  name: {{ .name | quote }}
  {{- with .namespace }}
  namespace: {{ . | quote }}
  {{- end }}
  labels: {{- $labels | nindent 4 }}
rules: {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}Binding
metadata:
  name: {{ .name | quote }}
  {{- with .namespace }}
  namespace: {{ . | quote }}
  {{- end }}
  labels: {{- $labels | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind }}
  name: {{ .name | quote }}
subjects:
  - kind: ServiceAccount
    name: {{ include (printf "fairlead.%s" .component) .root | quote }}
    namespace: {{ .root.Release.Namespace | quote }}
{{ end }}

{{/*
A role in each of `namespaces`, or one for all with scope: cluster; for a dict of root, component, namespaces, rules and
a suffix of the name.
*/}}
{{- define "fairlead.roles" -}}
{{- if eq .root.Values.scope "cluster" -}}
{{- $name := printf "%s-%s%s" (include "fairlead.clusterWide" .root) .component .suffix -}}
{{ include "fairlead.role" (merge (dict "kind" "ClusterRole" "name" $name) .) }}
{{- else -}}
{{- $name := printf "%s%s" (include (printf "fairlead.%s" .component) .root) .suffix -}}
{{- range .namespaces -}}
{{ include "fairlead.role" (merge (dict "kind" "Role" "name" $name "namespace" .) $) }}
{{- end -}}
{{- end -}}
{{- end }}
