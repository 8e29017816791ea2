{{- define "landfall.config" -}}
namespace: {{ .Release.Namespace | quote }}
listen: "{{ .Values.listen }}:8080"
{{- with .Values.clusterName }}
clusterName: {{ . | quote }}
{{- end }}
watchNamespaces: {{ toJson .Values.watchNamespaces }}
allowedEndpoints: {{ toJson .Values.allowedEndpoints }}
{{- with .Values.proxy }}
proxy:
  {{- with .https }}
  https: {{ . | quote }}
  {{- end }}
  {{- with .http }}
  http: {{ . | quote }}
  {{- end }}
  none: {{ toJson .none }}
  resolves: {{ .resolves }}
{{- end }}
dns: {{ toJson .Values.dns }}
encryption:
  current: {{ .Values.encryption.current | quote }}
  keys:
    {{- range .Values.encryption.keys }}
    {{ . | quote }}: {{ printf "/etc/landfall/keys/%s" . | quote }}
    {{- end }}
engines: {{ toJson .Values.engines }}
defaultEngine: {{ .Values.defaultEngine }}
{{- with .Values.engineCliConfig }}
engineCliConfig: {{ . | quote }}
{{- end }}
ceilings: {{ toJson .Values.ceilings }}
limits: {{ toJson .Values.limits }}
# Planning runs the code of whoever wrote the module: never beside the controller.
executor:
  type: job
  maxRuns: {{ .Values.runs.max }}
  {{- with .Values.runs.maxPerOrganization }}
  maxRunsPerOrganization: {{ . }}
  {{- end }}
  {{- with .Values.runs.maxPerCredential }}
  maxRunsPerCredential: {{ . }}
  {{- end }}
  stopGraceSeconds: {{ .Values.runs.stopGraceSeconds }}
  job:
    listen: "{{ .Values.listen }}:8443"
    url: "https://landfall-runs.{{ .Release.Namespace }}.svc:8443"
    image: {{ .Values.runs.image | default (include "landfall.image" .) }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    imagePullSecrets: {{ toJson .Values.image.pullSecrets }}
    serviceAccountName: landfall-runner
    {{- with .Values.runs.serviceAccounts }}
    serviceAccounts:
    {{- range . }}
    - {name: {{ .name | quote }}, organizations: {{ toJson .organizations }}, podLabels: {{ toJson (.podLabels | default dict) }}}
    {{- end }}
    {{- end }}
    podLabels: {{ toJson .Values.runs.podLabels }}
    podAnnotations: {{ toJson .Values.runs.podAnnotations }}
    resources: {{ toJson .Values.runs.resources }}
    nodeSelector: {{ toJson .Values.runs.nodeSelector }}
    tolerations: {{ toJson .Values.runs.tolerations }}
    permittedTolerations: {{ toJson .Values.runs.permittedTolerations }}
    volumes: {{ toJson .Values.volumes }}
    {{- with .Values.caBundle }}
    {{- if .configMap }}
    caBundle: {configMap: {{ .configMap | quote }}, key: {{ .key | quote }}}
    {{- end }}
    {{- end }}
    scratch: {{ .Values.runs.scratch | quote }}
    ttlSecondsAfterFinished: {{ .Values.runs.ttlSecondsAfterFinished }}
{{- end }}
