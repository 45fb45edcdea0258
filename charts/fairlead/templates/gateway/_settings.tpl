{{/* The gateway's settings: what this release knows of itself, and over it what the user says. */}}
{{- define "fairlead.gatewaySettings" -}}
{{- $own := dict "allowAnonymous" .Values.gateway.allowAnonymous -}}
{{- if .Values.gateway.keys.existingSecret -}}
{{- $_ := set $own "keyFile" (printf "/etc/fairlead-keys/%s" .Values.gateway.keys.key) -}}
{{- end -}}
{{- if not .Values.gateway.database.existingSecret -}}
{{- $_ := set $own "databaseUrl" "sqlite:////var/lib/fairlead/conversations.db" -}}
{{- end -}}
{{ mergeOverwrite $own (deepCopy .Values.gateway.settings) | mustToYaml }}
{{- end }}

{{/*
Seconds. Its endpoint goes while the pod sleeps; then it takes new requests for drainDelaySeconds, ends those in flight,
and has a little to close what it holds.
*/}}
{{- define "fairlead.gatewayLeaveSeconds" -}}5{{- end }}
{{- define "fairlead.gatewayGraceSeconds" -}}
{{- $times := .Values.gateway.settings.times -}}
{{ add (include "fairlead.gatewayLeaveSeconds" .) (ceil $times.drainDelaySeconds) $times.drainSeconds 15 }}
{{- end }}
