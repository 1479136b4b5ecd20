{{/* The name of everything: that of the release, which should say what it is. */}}
{{- define "authentik-proxy.name" -}}
{{- $long := printf "%s-%s" .Release.Name .Chart.Name }}
{{- $name := contains .Chart.Name .Release.Name | ternary .Release.Name $long }}
{{- .Values.fullnameOverride | default $name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* What selects the pods; it can never change afterwards. */}}
{{- define "authentik-proxy.selector" -}}
app.kubernetes.io/name: {{ include "authentik-proxy.name" . }}
{{- end }}

{{/* Takes root and, as needed, suffix, namespace, labels and annotations. */}}
{{- define "authentik-proxy.metadata" -}}
{{- $root := .root -}}
name: {{ include "authentik-proxy.name" $root }}{{ .suffix }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
{{- $chart := printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- $own := dict "app.kubernetes.io/managed-by" $root.Release.Service "helm.sh/chart" $chart }}
labels:
  {{- toYaml (merge $own (include "authentik-proxy.selector" $root | fromYaml) (.labels | default dict)
    $root.Values.commonLabels) | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The fields of a dictionary that have a value. */}}
{{- define "authentik-proxy.fields" -}}
{{- range $key, $value := . }}
{{- with $value }}
{{ toYaml (dict $key .) }}
{{- end }}
{{- end }}
{{- end }}

{{/* The open ports by name. */}}
{{- define "authentik-proxy.ports" -}}
{{- include "authentik-proxy.fields" (dict "http" 9000 "https" 9443 "metrics" 9300
  "ext-authz" (.Values.extAuthz.enabled | ternary 9001 0)
  "forward-auth" (.Values.forwardAuth.enabled | ternary 9002 0)) }}
{{- end }}

{{/* Each variable once. Those that follow from other values of the chart are refused. */}}
{{- define "authentik-proxy.env" -}}
{{- $fixed := "the ports of pods, probes and Services, which are fixed" }}
{{- $derived := dict "AUTHENTIK_TOKEN" "the value secret" "AUTHENTIK_PROXY_CONFIG" "the value config"
  "AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS" "the value trustedProxies" "AUTHENTIK_LISTEN__HTTP" $fixed
  "AUTHENTIK_LISTEN__HTTPS" $fixed "AUTHENTIK_LISTEN__METRICS" $fixed
  "AUTHENTIK_PROXY_LISTEN__EXT_AUTHZ" "the value extAuthz.enabled"
  "AUTHENTIK_PROXY_LISTEN__FORWARD_AUTH" "the value forwardAuth.enabled" }}
{{- $host := dict "secretKeyRef" (dict "name" .Values.secret.name "key" .Values.secret.hostKey) }}
{{- $all := dict "AUTHENTIK_HOST" (dict "valueFrom" $host)
  "AUTHENTIK_TOKEN" (dict "value" "file:///etc/authentik-proxy-token/token")
  "AUTHENTIK_PROXY_CONFIG" (dict "value" "/etc/authentik-proxy/authentik-proxy.yaml") }}
{{- range $name, $value := dict "AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS" (join "," .Values.trustedProxies)
  "AUTHENTIK_PROXY_LISTEN__EXT_AUTHZ" (.Values.extAuthz.enabled | ternary "[::]:9001" "")
  "AUTHENTIK_PROXY_LISTEN__FORWARD_AUTH" (.Values.forwardAuth.enabled | ternary "[::]:9002" "") }}
{{- if $value }}{{ $_ := set $all $name (dict "value" $value) }}{{ end }}
{{- end }}
{{- $given := list }}
{{- range $name, $value := .Values.env }}
{{- $number := and (kindIs "float64" $value) (eq (floor $value) $value) }}
{{- $text := $number | ternary (printf "%.0f" $value) (toString $value) }}
{{- $given = append $given (dict "name" $name "value" $text) }}
{{- end }}
{{- range concat $given .Values.extraEnv }}
{{- if hasKey $derived .name }}
{{- fail (printf "%s cannot be set in env or extraEnv: it follows from %s" .name (get $derived .name)) }}
{{- else if and (hasKey $all .name) (ne .name "AUTHENTIK_HOST") }}
{{- fail (printf "%s is set twice, in env and extraEnv: remove one of them" .name) }}
{{- end }}
{{- $_ := set $all .name (omit . "name") }}
{{- end }}
{{- range $name, $entry := $all }}
- name: {{ $name }}
  {{- toYaml $entry | nindent 2 }}
{{- end }}
{{- end }}

{{/* The container, without what only the server needs. */}}
{{- define "authentik-proxy.container" -}}
{{- $image := printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
image: {{ .Values.image.digest | empty | ternary $image (printf "%s@%s" $image .Values.image.digest) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  {{- include "authentik-proxy.env" . | trim | nindent 2 }}
{{- include "authentik-proxy.fields" (pick .Values "envFrom" "resources" "securityContext") }}
volumeMounts:
  - name: config
    mountPath: /etc/authentik-proxy
    readOnly: true
  - name: token
    mountPath: /etc/authentik-proxy-token
    readOnly: true
  - name: tmp
    mountPath: /tmp
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* What pods of the outpost and of `helm test` have in common. */}}
{{- define "authentik-proxy.pod" -}}
serviceAccountName: {{ .Values.serviceAccount.name | default (include "authentik-proxy.name" .) }}
automountServiceAccountToken: false
# Otherwise Kubernetes adds variables for every Service, with names similar to the outpost's.
enableServiceLinks: false
{{- include "authentik-proxy.fields" (dict "imagePullSecrets" .Values.image.pullSecrets "securityContext" .Values.podSecurityContext) }}
{{- include "authentik-proxy.fields" (pick .Values "dnsConfig" "dnsPolicy" "hostAliases" "nodeSelector"
  "priorityClassName" "runtimeClassName" "tolerations") }}
volumes:
  - name: config
    configMap:
      name: {{ include "authentik-proxy.name" . }}
  - name: token
    secret:
      secretName: {{ .Values.secret.name }}
      items:
        - key: {{ .Values.secret.tokenKey }}
          path: token
  - name: tmp
    emptyDir:
      sizeLimit: 100Mi
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
