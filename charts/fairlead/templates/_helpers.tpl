{{/* Everywhere mustToYaml and not toYaml, which drops without a word what it cannot write. Needs Helm 3.17. */}}

{{/*
Names. Helm allows 53 characters for that of a release, so that none of these is too long for a label or a Service.
*/}}
{{- define "fairlead.operator" -}}{{ .Release.Name }}-operator{{- end }}
{{- define "fairlead.gateway" -}}{{ .Release.Name }}-gateway{{- end }}
{{- define "fairlead.tokenSecret" -}}
{{ .Values.internalToken.existingSecret | default (printf "%s-internal-token" .Release.Name) }}
{{- end }}
{{/* Of objects without a namespace: releases in two namespaces may be called alike. */}}
{{- define "fairlead.clusterWide" -}}{{ .Release.Namespace }}:{{ .Release.Name }}{{- end }}

{{/* Labels of the objects, for (list . "operator"), (list . "gateway"), or (list . "") what both share. */}}
{{- define "fairlead.labels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: fairlead
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
{{- with index . 1 }}
app.kubernetes.io/component: {{ . }}
{{- end }}
app.kubernetes.io/part-of: fairlead
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service | quote }}
{{- end }}

{{- define "fairlead.selector" -}}
app.kubernetes.io/name: fairlead
app.kubernetes.io/instance: {{ (index . 0).Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of pods. Ours go before the user's, because selectors and the engines' NetworkPolicies depend on them. */}}
{{- define "fairlead.podLabels" -}}
{{- $own := include "fairlead.selector" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "fairlead" -}}
{{ merge $own (get (index . 0).Values (index . 1)).podLabels | mustToYaml }}
{{- end }}

{{/* Namespaces of the Models, as JSON. Those of all with scope: cluster, for which this is the release's. */}}
{{- define "fairlead.namespaces" -}}
{{ .Values.namespaces | default (list .Release.Namespace) | mustToJson }}
{{- end }}

{{/* Arguments that say the same to both commands. */}}
{{- define "fairlead.watched" -}}
{{- if eq .Values.scope "cluster" -}}
- --all-namespaces
{{- else -}}
{{- range include "fairlead.namespaces" . | fromJsonArray }}
- --namespace={{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "fairlead.image" -}}
{{- $image := (get (index . 0).Values (index . 1)).image -}}
{{- if $image.digest -}}
{{ printf "%s@%s" $image.repository $image.digest | quote }}
{{- else -}}
{{ printf "%s:%s" $image.repository ($image.tag | default (index . 0).Chart.AppVersion) | quote }}
{{- end }}
{{- end }}

{{/* What is the same in every pod of the platform. */}}
{{- define "fairlead.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}
{{- define "fairlead.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "fairlead.placement" -}}
{{- $values := get (index . 0).Values (index . 1) -}}
{{- with (index . 0).Values.imagePullSecrets }}
imagePullSecrets: {{- mustToYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- mustToYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- mustToYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{- mustToYaml . | nindent 2 }}
{{- end }}
{{- if gt (int $values.replicas) 1 }}
# Apart, where there is room: one node or zone that goes is not to take all.
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "fairlead.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end }}

{{/* The internal token, as a variable. */}}
{{- define "fairlead.tokenVariable" -}}
- name: FAIRLEAD_INTERNAL_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ include "fairlead.tokenSecret" . | quote }}
      key: {{ .Values.internalToken.key | quote }}
{{- end }}
