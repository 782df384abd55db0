{{- define "vsiflow.name" -}}
{{- if contains "vsiflow" .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-vsiflow" (.Release.Name | trunc 44 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- define "vsiflow.selector" -}}
app.kubernetes.io/name: vsiflow
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "vsiflow.labels" -}}
{{ include "vsiflow.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "vsiflow.claim" -}}
{{- .Values.persistence.existingClaim | default (printf "%s-journal" (include "vsiflow.name" .)) }}
{{- end }}

{{- /* The kinds: neither made nor deleted, but written to. */ -}}
{{- define "vsiflow.resources" -}}
- apiGroups: [hpse.ibm.com]
  resources: [onprem-hpcrs, onprem-datadisks, onprem-datadiskrefs, onprem-networkrefs]
  verbs: [get, list, watch, patch]
- apiGroups: [vsiflow.io]
  resources: [virtualservers, virtualserverpools, virtualservergroups, virtualservernetworks, virtualserverquotas, virtualserversnapshots]
  verbs: [get, list, watch, patch]
- apiGroups: [vsiflow.io]
  resources: [virtualservers/status, virtualserverpools/status, virtualservergroups/status, virtualservernetworks/status, virtualserverquotas/status, virtualserversnapshots/status]
  verbs: [patch]
- apiGroups: [hpse.ibm.com]
  resources: [onprem-hpcrs/status, onprem-datadisks/status, onprem-datadiskrefs/status, onprem-networkrefs/status]
  verbs: [patch]
{{- end }}

{{- /* Whether namespaces are served beside the release's own, which goes with the operator in it. */ -}}
{{- define "vsiflow.serves.others" -}}
{{- range .Values.watchNamespaces }}{{ if ne . $.Release.Namespace }}true{{ end }}{{ end }}
{{- end }}

{{- /* What is needed where resources are served: nothing is created there but the members of pools, which are deleted as
well, and events. */ -}}
{{- define "vsiflow.rules" -}}
{{ include "vsiflow.resources" . }}
- apiGroups: [vsiflow.io]
  resources: [virtualservers]
  verbs: [create, delete]
- apiGroups: [""]
  resources: [configmaps, secrets]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{- /* What of an object may be read beside the resource itself. */ -}}
{{- define "vsiflow.subresources.view" -}}
- apiGroups: [subresources.vsiflow.io]
  resources: [onprem-hpcrs/history, onprem-hpcrs/logs, virtualservers/history, virtualservers/logs, onprem-datadisks/history]
  verbs: [get]
{{- end }}
