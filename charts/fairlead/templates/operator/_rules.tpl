{{/*
What the operator may do where Models are, verb by verb. To apply is to patch, and to create where there is nothing yet.
Roles know no labels: that it touches only what belongs to a Model is the operator's own doing.
*/}}
{{- define "fairlead.operatorRules" -}}
# What is wanted. Models are their users' to change.
- apiGroups: [fairlead.dev]
  resources: [models]
  verbs: [list, watch]
# What is.
- apiGroups: [fairlead.dev]
  resources: [models/status]
  verbs: [update]
# Owners that block deletion, where the API server asks for this right (OpenShift).
- apiGroups: [fairlead.dev]
  resources: [models/finalizers]
  verbs: [update]
# The workload, and delete for what a Model no longer has; of claims only those with deletionPolicy: Delete.
- apiGroups: [apps]
  resources: [deployments, controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps, serviceaccounts, persistentvolumeclaims]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [ray.io]
  resources: [rayservices]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, list, watch, create, patch, delete]
# The Ray clusters of KubeRay; deleted where a rollout has no spare GPUs, so that KubeRay makes new ones. Those of a
# fixed size are resized, which KubeRay leaves to Ray's autoscaler.
- apiGroups: [ray.io]
  resources: [rayclusters]
  verbs: [list, watch, patch, delete]
# Why an engine is not ready.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# What the scheduler and the kubelet say, and what we have to say.
- apiGroups: [""]
  resources: [events]
  verbs: [list, watch, create, patch]
# Whether a Secret that a Model names has the key. One at a time, never a list; and whoever may make pods can mount any.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
{{- end }}

{{/* And beside them in namespaces other than the release's, which has it: the internal token for the engines. */}}
{{- define "fairlead.tokenRules" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ include "fairlead.tokenSecret" . | quote }}]
  verbs: [patch]
{{- end }}

{{/* In the release's own namespace: which of several operators leads. A right to create cannot name the object. */}}
{{- define "fairlead.leaseRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "fairlead.operator" . | quote }}]
  verbs: [get, update]
{{- end }}

{{/* In the whole cluster: how many GPUs there are, and who has them. */}}
{{- define "fairlead.nodeRules" -}}
- apiGroups: [""]
  resources: [nodes, pods]
  verbs: [list]
{{- end }}
