{{- define "landfall.labels" -}}
app.kubernetes.io/name: landfall
app.kubernetes.io/part-of: landfall
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Of pods of one component: (list . "controller"). */}}
{{- define "landfall.selector" -}}
app.kubernetes.io/name: landfall
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Of pods of runs, which the controller makes. */}}
{{- define "landfall.runSelector" -}}
matchLabels: {app.kubernetes.io/part-of: landfall}
matchExpressions:
- {key: landfall.dev/run, operator: Exists}
{{- end }}

{{- define "landfall.image" -}}
{{ .Values.image.repository }}{{ with .Values.image.digest }}@{{ . }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "landfall.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "landfall.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "landfall.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* The Secret with the database's URLs, and the key of the one of the argument: (list . "url"). */}}
{{- define "landfall.databaseUrl" -}}
{{- $database := (index . 0).Values.database -}}
{{- $key := ternary $database.migratorUrlKey $database.urlKey (eq (index . 1) "migrator-url") -}}
secret:
  {{- if $database.bundled.enabled }}
  secretName: landfall-postgres
  items: [{key: {{ index . 1 }}, path: url}]
  {{- else }}
  secretName: {{ $database.existingSecret | quote }}
  items: [{key: {{ $key | quote }}, path: url}]
  {{- end }}
  defaultMode: 288 # 0440
{{- end }}

{{- define "landfall.databaseCaVolume" -}}
{{- with .Values.database.ca }}
{{- if .secret }}
- name: database-ca
  secret:
    secretName: {{ .secret | quote }}
    items: [{key: {{ .key | quote }}, path: ca.crt}]
{{- end }}
{{- end }}
{{- end }}

{{- define "landfall.databaseCaMount" -}}
{{- if .Values.database.ca.secret }}
- {name: database-ca, mountPath: /etc/landfall/database-ca, readOnly: true}
{{- end }}
{{- end }}

{{/* A container that brings the schema up to date; twice, or twice at once, is as good as once. */}}
{{- define "landfall.migrate" -}}
name: migrate
image: {{ include "landfall.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [migrate]
env:
- {name: DATABASE_URL_FILE, value: /etc/landfall/migrator/url}
securityContext: {{- include "landfall.containerSecurity" . | nindent 2 }}
resources:
  requests: {cpu: 50m, memory: 64Mi}
  limits: {memory: 256Mi}
volumeMounts:
- {name: migrator-url, mountPath: /etc/landfall/migrator, readOnly: true}
{{- include "landfall.databaseCaMount" . }}
{{- end }}

{{/* What each replica may hold, as limits.databaseConnections is defined, and one more of each, one replica more while they are replaced, and some for people. */}}
{{- define "landfall.connections" -}}
{{- $each := .Values.limits.databaseConnections | default (add (mul 2 (.Values.limits.concurrency | default 8)) .Values.runs.max 8) }}
{{- mul (add .Values.replicas 1) (add1 $each) | add 20 }}
{{- end }}

{{/* Names of labels or annotations that Landfall does not set itself: (list "podLabels" .Values.podLabels). */}}
{{- define "landfall.notOurs" -}}
{{- $field := index . 0 }}
{{- range $name, $_ := index . 1 }}
{{- if or (hasPrefix "landfall.dev/" $name) (hasPrefix "app.kubernetes.io/" $name) }}
{{- fail (printf "%s: %q is for Landfall to set; remove it" $field $name) }}
{{- end }}
{{- end }}
{{- end }}

{{/* What no schema says. */}}
{{- define "landfall.check" -}}
{{- if eq (empty .Values.database.existingSecret) (not .Values.database.bundled.enabled) }}
{{- fail "database: name the Secret with its URLs in database.existingSecret, or set database.bundled.enabled to try Landfall out; one of the two" }}
{{- end }}
{{- if and .Values.database.bundled.enabled .Values.database.ca.secret }}
{{- fail "database.ca: the bundled Postgres has no certificate; remove database.ca.secret" }}
{{- end }}
{{- if not (has .Values.encryption.current .Values.encryption.keys) }}
{{- fail (printf "encryption.current: %q is none of encryption.keys" .Values.encryption.current) }}
{{- end }}
{{- if has .Release.Namespace .Values.watchNamespaces }}
{{- fail (printf "watchNamespaces: %q is Landfall's own namespace; it is not for objects of others" .Release.Namespace) }}
{{- end }}
{{- include "landfall.notOurs" (list "podLabels" .Values.podLabels) }}
{{- include "landfall.notOurs" (list "podAnnotations" .Values.podAnnotations) }}
{{- include "landfall.notOurs" (list "runs.podLabels" .Values.runs.podLabels) }}
{{- include "landfall.notOurs" (list "runs.podAnnotations" .Values.runs.podAnnotations) }}
{{- $accounts := list }}
{{- range .Values.runs.serviceAccounts }}
{{- if has .name $accounts }}
{{- fail (printf "runs.serviceAccounts: %q is named twice; remove one" .name) }}
{{- end }}
{{- $accounts = append $accounts .name }}
{{- include "landfall.notOurs" (list "runs.serviceAccounts: podLabels" .podLabels) }}
{{- if has .name (list "landfall-controller" "landfall-runner" "default") }}
{{- fail (printf "runs.serviceAccounts: %q is Landfall's own, or the namespace's; name another" .name) }}
{{- end }}
{{- end }}
{{- $mounted := list "/work" "/var/run/landfall" "/etc/landfall" "/usr/local/bin" "/var/run/secrets" "/run" }}
{{- range .Values.volumes }}
{{- $path := .mountPath }}
{{- if regexMatch "/[.][.]?(/|$)" $path }}
{{- fail (printf "volumes: mountPath %q has . or .. in it; write it without" $path) }}
{{- end }}
{{- range $mounted }}
{{- if or (hasPrefix (printf "%s/" .) (printf "%s/" $path)) (hasPrefix (printf "%s/" $path) (printf "%s/" .)) }}
{{- fail (printf "volumes: mountPath %q and %q are one within the other; mount it elsewhere" $path .) }}
{{- end }}
{{- end }}
{{- $mounted = append $mounted $path }}
{{- end }}
{{- if not (hasKey .Values.engines .Values.defaultEngine) }}
{{- fail (printf "defaultEngine: engines names no binary of %s" .Values.defaultEngine) }}
{{- end }}
{{- end }}
