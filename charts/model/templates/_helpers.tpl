{{/* Everywhere mustToYaml and not toYaml, which drops without a word what it cannot write. Needs Helm 3.17. */}}

{{/*
Names. The release is called as the Model, at most 40 characters (validate.yaml): the longest name made of it is that of
a pod of KubeRay, which shortens its own. Labels take 63. Names are quoted wherever they stand: Helm takes y, n and on
for truth values.
*/}}
{{- define "model.name" -}}{{ .Release.Name }}{{- end }}
{{/*
Called by what is in it: another Model file is another ConfigMap, and an engine of before that starts anew during an
update still finds its own. It also makes the new pods.
*/}}
{{- define "model.configMap" -}}
{{- $file := ternary (trim .Values.model) "" (eq .Values.cluster "Standalone") -}}
{{ .Release.Name }}-model-{{ print .Values.cluster $file (.Files.Get "files/probe.py") | sha256sum | trunc 8 }}
{{- end }}
{{- define "model.adapters" -}}{{ .Release.Name }}-adapters{{- end }}
{{- define "model.serviceAccount" -}}{{ .Release.Name }}-engine{{- end }}
{{- define "model.claim" -}}{{ .Values.cache.claimName | default (printf "%s-cache" .Release.Name) }}{{- end }}

{{- define "model.selector" -}}
fairlead.dev/model: {{ include "model.name" . | quote }}
app.kubernetes.io/component: engine
{{- end }}

{{/* Labels of the objects. */}}
{{- define "model.labels" -}}
app.kubernetes.io/name: fairlead-model
app.kubernetes.io/instance: {{ include "model.name" . | quote }}
app.kubernetes.io/part-of: fairlead
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
fairlead.dev/model: {{ include "model.name" . | quote }}
{{- end }}

{{/*
Labels of pods, for (list . "engine") or (list . "head"). Neither the chart nor its version is among them, or an upgrade
would restart every engine. Ours go before the user's, because selectors depend on them.
*/}}
{{- define "model.podLabels" -}}
{{- $root := index . 0 -}}
{{- $own := dict
  "app.kubernetes.io/name" "fairlead-model"
  "app.kubernetes.io/instance" (include "model.name" $root)
  "app.kubernetes.io/component" (index . 1)
  "app.kubernetes.io/part-of" "fairlead"
  "fairlead.dev/model" (include "model.name" $root) -}}
{{ merge $own $root.Values.podLabels | mustToYaml }}
{{- end }}

{{/* Seconds. The engine leaves its place among the endpoints, then finishes its requests, then Ray ends. */}}
{{- define "model.leaveSeconds" -}}5{{- end }}
{{- define "model.graceSeconds" -}}
{{ add (include "model.leaveSeconds" .) .Values.drainTimeoutSeconds 60 }}
{{- end }}

{{/* What is the same in every pod of the Model. */}}
{{- define "model.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.runAsUser | int64 }}
runAsGroup: {{ .Values.runAsUser | int64 }}
fsGroup: {{ .Values.runAsUser | int64 }}
# A cache of a terabyte is not to be walked through at every start.
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}
{{- define "model.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/*
The environment of the engine. HOME is the one place that can be written; USER, because the user has no entry in the
image's /etc/passwd and PyTorch asks for a name. A user's variable replaces ours of the same name: an object with a name
twice cannot be applied. The RAY_ ones are read by Ray when KubeRay starts it; a Standalone engine sets them by itself.
*/}}
{{- define "model.environment" -}}
{{- $drain := int .Values.drainTimeoutSeconds -}}
{{- $own := list
  (dict "name" "HOME" "value" "/tmp")
  (dict "name" "USER" "value" "fairlead")
  (dict "name" "FAIRLEAD_CACHE_DIR" "value" "/var/cache/fairlead")
  (dict "name" "FAIRLEAD_CLAIMS_DIR" "value" "/var/lib/fairlead/claims") -}}
{{- if eq .Values.cluster "Standalone" -}}
{{- $own = concat $own (list
  (dict "name" "FAIRLEAD_METRICS_PORT" "value" "8080")
  (dict "name" "FAIRLEAD_STATUS_PORT" "value" "8090")
  (dict "name" "FAIRLEAD_ADAPTERS_FILE" "value" "/etc/fairlead-adapters/adapters.json")
  (dict "name" "FAIRLEAD_TERMINATION_LOG" "value" "/dev/termination-log")) -}}
{{- else -}}
{{- $own = concat $own (list
  (dict "name" "RAY_SERVE_ENABLE_HA_PROXY" "value" "1")
  (dict "name" "RAY_SERVE_THROUGHPUT_OPTIMIZED" "value" "1")
  (dict "name" "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S" "value" (add $drain 30 | toString))
  (dict "name" "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S" "value" "1")
  (dict "name" "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S" "value" (toString $drain))
  (dict "name" "RAY_USAGE_STATS_ENABLED" "value" "0")
  (dict "name" "RAY_worker_niceness" "value" "0")
  (dict "name" "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO" "value" "0")) -}}
{{- end -}}
{{- with .Values.hfToken -}}
{{- $own = append $own (dict "name" "HF_TOKEN" "valueFrom" (dict "secretKeyRef" .)) -}}
{{- end -}}
{{- if .Values.s3Credentials -}}
{{- $own = append $own (dict "name" "AWS_SHARED_CREDENTIALS_FILE" "value" "/etc/fairlead-s3/credentials") -}}
{{- end -}}
{{- $own = append $own (dict "name" "FAIRLEAD_INTERNAL_TOKEN" "valueFrom" (dict "secretKeyRef" .Values.internalToken)) -}}
{{- $given := list -}}
{{- range .Values.env }}{{ $given = append $given .name }}{{ end -}}
{{- $all := list -}}
{{- range $own }}{{ if not (has .name $given) }}{{ $all = append $all . }}{{ end }}{{ end -}}
{{ concat $all .Values.env | mustToYaml }}
{{- end }}

{{- define "model.mounts" -}}
- name: config
  mountPath: /etc/fairlead
  readOnly: true
{{- if eq .Values.cluster "Standalone" }}
- name: adapters
  mountPath: /etc/fairlead-adapters
  readOnly: true
{{- end }}
- name: tmp
  mountPath: /tmp
- name: shm
  mountPath: /dev/shm
- name: cache
  mountPath: /var/cache/fairlead
{{- range .Values.claims }}
- name: {{ printf "claim-%s" (sha256sum . | trunc 10) }}
  mountPath: /var/lib/fairlead/claims/{{ . }}
  readOnly: true
{{- end }}
{{- if .Values.s3Credentials }}
- name: s3
  mountPath: /etc/fairlead-s3
  readOnly: true
{{- end }}
{{- end }}

{{- define "model.volumes" -}}
- name: config
  configMap:
    name: {{ include "model.configMap" . | quote }}
{{- if eq .Values.cluster "Standalone" }}
# Whether or not there are adapters, or the first one would make new pods.
- name: adapters
  configMap:
    name: {{ include "model.adapters" . | quote }}
    optional: true
{{- end }}
- name: tmp
  emptyDir: {}
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ .Values.sharedMemory | quote }}
- name: cache
  {{- if .Values.cache.enabled }}
  persistentVolumeClaim:
    claimName: {{ include "model.claim" . | quote }}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- range .Values.claims }}
# Called by a hash, because the name of a claim may be too long for that of a volume.
- name: {{ printf "claim-%s" (sha256sum . | trunc 10) }}
  persistentVolumeClaim:
    claimName: {{ . | quote }}
    readOnly: true
{{- end }}
{{- with .Values.s3Credentials }}
- name: s3
  secret:
    secretName: {{ .name | quote }}
    items:
      - key: {{ .key | quote }}
        path: credentials
{{- end }}
{{- end }}

{{/* Whether the engine has loaded and is alive. files/probe.py says why this is no HTTP probe. */}}
{{- define "model.probe" -}}
exec:
  command: [python3, -I, /etc/fairlead/probe.py, "8000", /engines/{{ include "model.name" . }}/health]
# Python starts slowly where the engine keeps all cores busy.
timeoutSeconds: 10
{{- end }}

{{- define "model.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector: {{- mustToYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- mustToYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- mustToYaml . | nindent 2 }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- end }}

{{/*
The Ray Serve application, as KubeRay hands it to Ray. A change of it alone is made in place, on the same pods and GPUs:
Ray Serve replaces its replicas one after another, and a change of only the scaling restarts none. The Model file stays
text, because numbers would lose digits on the way through Helm and KubeRay.
*/}}
{{- define "model.serveConfig" -}}
{{- $engine := dict "name" "engine" -}}
{{- with .Values.ray.scaling -}}
{{- $_ := set $engine "autoscaling_config" (dict
  "min_replicas" (int64 .minReplicas)
  "initial_replicas" (max 1 .minReplicas | int64)
  "max_replicas" (int64 .maxReplicas)
  "target_ongoing_requests" (int64 .targetOngoingRequests)
  "upscale_delay_s" (int64 .scaleUpDelaySeconds)
  "downscale_delay_s" (int64 .scaleDownDelaySeconds)
  "downscale_to_zero_delay_s" (int64 .scaleToZeroDelaySeconds)) -}}
{{- else -}}
{{- $_ := set $engine "num_replicas" (int64 .Values.replicas) -}}
{{- end -}}
{{- dict
  "proxy_location" "EveryNode"
  "http_options" (dict "host" "0.0.0.0" "port" 8000)
  "applications" (list (dict
    "name" (include "model.name" .)
    "route_prefix" (printf "/engines/%s" (include "model.name" .))
    "import_path" "fairlead_serve.engine.replica:build"
    "args" (dict "model" .Values.model)
    "deployments" (list $engine))) | mustToYaml }}
{{- end }}
