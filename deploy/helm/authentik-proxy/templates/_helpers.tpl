{{/* The name of everything: that of the release, which should say what it is. */}}
{{- define "authentik-proxy.name" -}}
{{- if contains .Chart.Name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What selects the pods; it can never change afterwards. */}}
{{- define "authentik-proxy.selector" -}}
app.kubernetes.io/name: {{ include "authentik-proxy.name" . }}
{{- end }}

{{- define "authentik-proxy.labels" -}}
{{ include "authentik-proxy.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}
