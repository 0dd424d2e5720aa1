{{/* The beginning of all names: the release's, with "tarn" in it. */}}
{{- define "tarn.name" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride }}
{{- else if contains "tarn" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-tarn" .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What selects pods; immutable, so without versions. */}}
{{- define "tarn.selector" -}}
app.kubernetes.io/name: tarn
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tarn.labels" -}}
{{ include "tarn.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "tarn.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* The Lease by which a sidecar's replicas agree who works: their names as the sidecars make them. */}}
{{- define "tarn.leases" -}}
{{- $driver := regexReplaceAll "[^a-zA-Z0-9-]" .Values.driverName "-" -}}
[{{ $driver }}, external-resizer-{{ $driver }}, external-snapshotter-leader-{{ $driver }}]
{{- end }}

{{/* For a container that only talks to a socket and to the API server. */}}
{{- define "tarn.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Is the program still there, for a container that serves tarn's /healthz. */}}
{{- define "tarn.healthz" -}}
httpGet: {path: /healthz, port: metrics}
{{- end }}
