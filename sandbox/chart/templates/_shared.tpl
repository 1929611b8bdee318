{{/* Objects are built as data and printed by toYaml: no template below cares about indentation. */}}

{{/* The metadata of an object. Takes root, name and, if it has any, labels and annotations. */}}
{{- define "shared.metadata" -}}
{{- $metadata := dict "name" .name "namespace" .root.Release.Namespace -}}
{{- with .labels }}{{ $_ := set $metadata "labels" . }}{{ end -}}
{{- with .annotations }}{{ $_ := set $metadata "annotations" . }}{{ end -}}
{{- toYaml $metadata -}}
{{- end -}}

{{/* The strategy of a Deployment; without one, upstream asks for a second copy of everything. */}}
{{- define "shared.strategy" -}}
{{- . | default (dict "rollingUpdate" (dict "maxSurge" "100%" "maxUnavailable" 0)) | toYaml -}}
{{- end -}}

{{/* The API key's variable, for engines and routers alike. Takes the reference to the Secret. */}}
{{- define "shared.apiKey" -}}
{{- $reference := dict "name" .secretName "key" .secretKey -}}
{{- dict "name" "VLLM_API_KEY" "valueFrom" (dict "secretKeyRef" $reference) | toYaml -}}
{{- end -}}
