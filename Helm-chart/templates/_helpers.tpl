{{- define "modelinstance.labels" -}}
app.kubernetes.io/name: modelinstance-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
