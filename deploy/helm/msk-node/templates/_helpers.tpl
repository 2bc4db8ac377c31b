{{- define "msk-node.name" -}}
{{- printf "%s" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "msk-node.labels" -}}
app.kubernetes.io/name: msk-node
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "msk-node.selector" -}}
app.kubernetes.io/name: msk-node
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "msk-node.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default (printf "%s-%s" .Chart.AppVersion (ternary "cuda" "cpu" (gt (int .Values.gpu.count) 0))) }}
{{- end -}}
{{- end -}}

{{- define "msk-node.claim" -}}
{{- $claim := index .root.Values.storage .what -}}
{{ $claim.existingClaim | default (printf "%s-%s" (include "msk-node.name" .root) .what) }}
{{- end -}}

{{/* What every pod has: no rights, no root, a file system that is only read. */}}
{{- define "msk-node.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .root.Values.uid }}
  runAsGroup: {{ .root.Values.uid }}
  fsGroup: {{ .root.Values.uid }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
terminationGracePeriodSeconds: 45
volumes:
  - name: settings
    projected:
      sources:
        - configMap: {name: {{ include "msk-node.name" .root }}}
  - name: database
    secret:
      secretName: {{ .root.Values.database.existingSecret }}
      items: [{key: {{ .root.Values.database.key }}, path: url}]
      defaultMode: 0440
  - name: scratch
    emptyDir: {}
  - name: etc
    emptyDir: {medium: Memory, sizeLimit: 1Mi}
  - name: spool
    persistentVolumeClaim: {claimName: {{ include "msk-node.claim" (dict "root" .root "what" "spool") }}}
  - name: data
    persistentVolumeClaim: {claimName: {{ include "msk-node.claim" (dict "root" .root "what" "data") }}}
  {{- range .root.Values.secretFiles }}
  - name: secret-{{ . }}
    secret: {secretName: {{ . }}, defaultMode: 0440}
  {{- end }}
initContainers:
  # node.toml with the database's URL, in memory: a setting that is a secret is in no config map.
  - name: settings
    image: {{ include "msk-node.image" .root }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    command: [python3, /settings/write_settings.py]
    securityContext: {{ include "msk-node.container" . | nindent 6 }}
    resources: {requests: {cpu: 50m, memory: 64Mi}, limits: {memory: 256Mi}}
    volumeMounts:
      - {name: settings, mountPath: /settings, readOnly: true}
      - {name: database, mountPath: /run/database, readOnly: true}
      - {name: etc, mountPath: /etc/msk-node}
containers:
  - name: {{ .role }}
    image: {{ include "msk-node.image" .root }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    args: [serve, --config, /etc/msk-node/node.toml, --role, {{ .role }}]
    securityContext: {{ include "msk-node.container" . | nindent 6 }}
    resources:
      {{- toYaml .resources | nindent 6 }}
    volumeMounts:
      - {name: etc, mountPath: /etc/msk-node, readOnly: true}
      - {name: scratch, mountPath: /tmp}
      - {name: spool, mountPath: /spool}
      - {name: data, mountPath: /data}
      {{- range .root.Values.secretFiles }}
      - {name: secret-{{ . }}, mountPath: /run/secrets/{{ . }}, readOnly: true}
      {{- end }}
{{- end -}}

{{- define "msk-node.container" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Its own heartbeat is not older than a minute: a probe of one pod must not ask for others. */}}
{{- define "msk-node.beat" -}}
exec:
  command:
    - sh
    - -c
    - test $(( $(date +%s) - $(stat -c %Y "/spool/.heartbeats/{{ .role }}.$(hostname).json") )) -lt 60
periodSeconds: 20
timeoutSeconds: 5
failureThreshold: 3
{{- end -}}
