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

{{- /* Rights on all kinds: to read and write objects, not to create or delete them. */ -}}
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

{{- /* Whether namespaces other than the release's own are served. The own one is deleted with the operator. */ -}}
{{- define "vsiflow.serves.others" -}}
{{- range .Values.watchNamespaces }}{{ if ne . $.Release.Namespace }}true{{ end }}{{ end }}
{{- end }}

{{- /* Rights in a served namespace. Only members of pools are created and deleted there, and events are
created. */ -}}
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

{{- /* Rights to read the subresources of an object. */ -}}
{{- define "vsiflow.subresources.view" -}}
- apiGroups: [subresources.vsiflow.io]
  resources: [onprem-hpcrs/history, onprem-hpcrs/logs, virtualservers/history, virtualservers/logs, onprem-datadisks/history]
  verbs: [get]
{{- end }}
