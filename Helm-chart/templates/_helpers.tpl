{{/* The name of what the chart makes. That of the release, so that it is the same in every version. */}}
{{- define "modelinstance.name" -}}
{{ .Values.fullnameOverride | default .Release.Name }}
{{- end }}

{{/* The name of what is not in the release's own namespace. Two releases never share it, for no
     namespace has a dot in its name. */}}
{{- define "modelinstance.farName" -}}
{{ .Release.Namespace }}.{{ include "modelinstance.name" . }}
{{- end }}

{{- define "modelinstance.serviceName" -}}
{{- $name := .Values.service.name | default (include "modelinstance.name" .) -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- fail (printf "%q is no name for a Service: write one of lower-case letters, digits and '-' that begins with a letter into service.name" $name) -}}
{{- end -}}
{{ $name }}
{{- end }}

{{- define "modelinstance.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "modelinstance.name" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | required "serviceAccount.create is false: write the name of an existing ServiceAccount into serviceAccount.name" }}
{{- end }}
{{- end }}

{{/* A selector cannot be changed once it is there, so neither can these labels. */}}
{{- define "modelinstance.selectorLabels" -}}
app.kubernetes.io/name: modelinstance-operator
app.kubernetes.io/instance: {{ .Release.Name | toYaml }}
{{- end }}

{{- define "modelinstance.commonLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: modelinstance
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "modelinstance.labels" -}}
{{ include "modelinstance.selectorLabels" . }}
{{ include "modelinstance.commonLabels" . }}
{{- end }}

{{- define "modelinstance.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* The pod of `helm test` must not be taken for the operator's. */}}
{{- define "modelinstance.testLabels" -}}
app.kubernetes.io/name: modelinstance-operator-test
app.kubernetes.io/instance: {{ .Release.Name | toYaml }}
{{- end }}

{{/* Of a namespace, as an argument: the release's own by reference, so that the pod may be moved. */}}
{{- define "modelinstance.namespaceArgument" -}}
{{ ternary "$(POD_NAMESPACE)" .name (eq .name .root.Release.Namespace) }}
{{- end }}

{{/* Where workers are enrolled that name no namespace; what the operator has as its default otherwise. */}}
{{- define "modelinstance.defaultNamespace" -}}
{{- $namespaces := .Values.namespaces | default list -}}
{{- $name := .Values.defaultNamespace | default (first $namespaces) | default "default" -}}
{{- if and $namespaces (not (has $name $namespaces)) -}}
{{- fail (printf "defaultNamespace %q is not among namespaces: write one of %s, or leave it empty" $name (join ", " $namespaces)) -}}
{{- end -}}
{{ $name }}
{{- end }}

{{/* Where `helm test` makes its instance: where instances are mirrored. */}}
{{- define "modelinstance.testNamespace" -}}
{{- if or (not .Values.namespaces) (has .Release.Namespace .Values.namespaces) -}}
{{ .Release.Namespace }}
{{- else -}}
{{ first .Values.namespaces }}
{{- end }}
{{- end }}
