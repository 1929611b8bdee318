{{/* Everything of one model. Each template takes root (the chart's scope) and model (its entry). */}}

{{/* The labels by which an engine's Deployment finds its pods. */}}
{{- define "engine.labels" -}}
{{- $own := dict "model" .model.name "helm-release-name" .root.Release.Name -}}
{{- merge $own (deepCopy .root.Values.servingEngineSpec.labels) | toYaml -}}
{{- end -}}

{{/* The command line. An option set to whatever value becomes a flag, in this order. */}}
{{- define "engine.command" -}}
{{- $port := toString .root.Values.servingEngineSpec.containerPort -}}
{{- $command := list "vllm" "serve" .model.modelURL "--host" "0.0.0.0" "--port" $port -}}
{{- $options := .model.vllmConfig | default dict -}}
{{- if hasKey $options "enableChunkedPrefill" -}}
  {{- $flag := ternary "--enable-chunked-prefill" "--no-enable-chunked-prefill" $options.enableChunkedPrefill -}}
  {{- $command = append $command $flag -}}
{{- end -}}
{{- if $options -}}
  {{- $on := $options.enablePrefixCaching | default false -}}
  {{- $command = append $command (ternary "--enable-prefix-caching" "--no-enable-prefix-caching" $on) -}}
{{- end -}}
{{- range $option := list
    (list "maxModelLen" "--max-model-len")
    (list "dtype" "--dtype")
    (list "tensorParallelSize" "--tensor-parallel-size")
    (list "maxNumSeqs" "--max-num-seqs")
    (list "gpuMemoryUtilization" "--gpu_memory_utilization")
    (list "maxLoras" "--max_loras")
-}}
  {{- if hasKey $options (first $option) -}}
    {{- $command = concat $command (list (last $option) (get $options (first $option) | toString)) -}}
  {{- end -}}
{{- end -}}
{{- range $options.extraArgs }}{{ $command = append $command (toString .) }}{{ end -}}
{{- toYaml $command -}}
{{- end -}}

{{/* The environment, the model's own variables last. */}}
{{- define "engine.environment" -}}
{{- $pod := dict "fieldRef" (dict "fieldPath" "status.podIP") -}}
{{- $variables := list
    (dict "name" "PYTHONHASHSEED" "value" "123")
    (dict "name" "HF_HOME" "value" "/tmp")
    (dict "name" "POD_IP" "valueFrom" $pod)
-}}
{{- with .model.vllmConfig -}}
  {{- $version := dict "name" "PROMETHEUS_MULTIPROC_DIR" "value" (.prometheusMultiprocDir | default "/tmp") -}}
  {{- if eq (toString .v0) "1" }}{{ $version = dict "name" "VLLM_USE_V1" "value" "0" }}{{ end -}}
  {{- $variables = concat $variables (list (dict "name" "LMCACHE_LOG_LEVEL" "value" "DEBUG") $version) -}}
{{- end -}}
{{- with .model.hf_token -}}
  {{- $reference := dict "secretKeyRef" (dict "name" .secretName "key" .secretKey) -}}
  {{- $variables = append $variables (dict "name" "HF_TOKEN" "valueFrom" $reference) -}}
{{- end -}}
{{- with .root.Values.servingEngineSpec.vllmApiKey -}}
  {{- $variables = append $variables (include "shared.apiKey" . | fromYaml) -}}
{{- end -}}
{{- concat $variables (.model.env | default list) | toYaml -}}
{{- end -}}

{{/* Requests, and the limits that are set; GPUs are always both. */}}
{{- define "engine.resources" -}}
{{- $requests := dict "cpu" (toString .model.requestCPU) "memory" (toString .model.requestMemory) -}}
{{- $limits := dict -}}
{{- with .model.limitMemory }}{{ $_ := set $limits "memory" (toString .) }}{{ end -}}
{{- with .model.limitCPU }}{{ $_ := set $limits "cpu" (toString .) }}{{ end -}}
{{- if gt (int .model.requestGPU) 0 -}}
  {{- range list $requests $limits }}{{ $_ := set . "nvidia.com/gpu" (toString $.model.requestGPU) }}{{ end -}}
{{- end -}}
{{- $resources := dict "requests" $requests -}}
{{- with $limits }}{{ $_ := set $resources "limits" . }}{{ end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/* The one container. */}}
{{- define "engine.container" -}}
{{- $engine := .root.Values.servingEngineSpec -}}
{{- $container := dict
    "name" "vllm"
    "image" (printf "%s:%s" .model.repository .model.tag)
    "imagePullPolicy" ($engine.imagePullPolicy | default "Always")
    "securityContext" (dict "runAsNonRoot" false)
    "command" (include "engine.command" . | fromYamlArray)
    "env" (include "engine.environment" . | fromYamlArray)
    "resources" (include "engine.resources" . | fromYaml)
    "ports" (list
      (dict "name" "container-port" "containerPort" $engine.containerPort)
      (dict "name" "zmq-port" "containerPort" 55555)
      (dict "name" "ucx-port" "containerPort" 9999))
-}}
{{- range $probe := list "startupProbe" "livenessProbe" "readinessProbe" -}}
  {{- with get $engine $probe }}{{ $_ := set $container $probe . }}{{ end -}}
{{- end -}}
{{- $mounts := .model.extraVolumeMounts | default list -}}
{{- if hasKey (.model.vllmConfig | default dict) "tensorParallelSize" -}}
  {{- $mounts = prepend $mounts (dict "name" "shm" "mountPath" "/dev/shm") -}}
{{- end -}}
{{- with $mounts }}{{ $_ := set $container "volumeMounts" . }}{{ end -}}
{{- toYaml $container -}}
{{- end -}}

{{/* The pod. Shared memory goes with tensor parallelism. */}}
{{- define "engine.pod" -}}
{{- $engine := .root.Values.servingEngineSpec -}}
{{- $full := printf "%s-%s" .root.Release.Name .model.name -}}
{{- $pod := dict
    "hostname" (printf "%s-%s" $full .root.Chart.Name)
    "subdomain" (printf "%s-engine-service" $full)
    "containers" (list (include "engine.container" . | fromYaml))
-}}
{{- $volumes := .model.extraVolumes | default list -}}
{{- if hasKey (.model.vllmConfig | default dict) "tensorParallelSize" -}}
  {{- $memory := dict "medium" "Memory" "sizeLimit" (.model.shmSize | default "20Gi") -}}
  {{- $volumes = prepend $volumes (dict "name" "shm" "emptyDir" $memory) -}}
{{- end -}}
{{- with $volumes }}{{ $_ := set $pod "volumes" . }}{{ end -}}
{{- with $engine.tolerations }}{{ $_ := set $pod "tolerations" . }}{{ end -}}
{{- with $engine.runtimeClassName }}{{ $_ := set $pod "runtimeClassName" . }}{{ end -}}
{{- with .model.imagePullSecret }}{{ $_ := set $pod "imagePullSecrets" (list (dict "name" .)) }}{{ end -}}
{{- with .model.nodeSelectorTerms -}}
  {{- $required := dict "nodeSelectorTerms" . -}}
  {{- $affinity := dict "requiredDuringSchedulingIgnoredDuringExecution" $required -}}
  {{- $_ := set $pod "affinity" (dict "nodeAffinity" $affinity) -}}
{{- end -}}
{{- toYaml $pod -}}
{{- end -}}

{{/* The Deployment. */}}
{{- define "engine.deployment" -}}
{{- $labels := include "engine.labels" . | fromYaml -}}
{{- $name := printf "%s-%s-deployment-vllm" .root.Release.Name .model.name -}}
{{- $metadata := dict "root" .root "name" $name "labels" $labels "annotations" .model.annotations -}}
{{- $template := dict "labels" $labels -}}
{{- with .model.podAnnotations }}{{ $_ := set $template "annotations" . }}{{ end -}}
{{- dict
    "apiVersion" "apps/v1"
    "kind" "Deployment"
    "metadata" (include "shared.metadata" $metadata | fromYaml)
    "spec" (dict
      "replicas" .model.replicaCount
      "strategy" (include "shared.strategy" .root.Values.servingEngineSpec.strategy | fromYaml)
      "selector" (dict "matchLabels" $labels)
      "progressDeadlineSeconds" 1200
      "template" (dict "metadata" $template "spec" (include "engine.pod" . | fromYaml)))
  | toYaml -}}
{{- end -}}

{{/* The Service of one model, by its own labels alone. */}}
{{- define "engine.service" -}}
{{- $engine := .root.Values.servingEngineSpec -}}
{{- $name := printf "%s-%s-engine-service" .root.Release.Name .model.name -}}
{{- $metadata := dict "root" .root "name" $name "labels" $engine.labels -}}
{{- dict
    "apiVersion" "v1"
    "kind" "Service"
    "metadata" (include "shared.metadata" $metadata | fromYaml)
    "spec" (dict
      "type" "ClusterIP"
      "selector" (dict "model" .model.name "helm-release-name" .root.Release.Name)
      "ports" (list
        (dict "name" "service-port" "port" $engine.servicePort "targetPort" "container-port" "protocol" "TCP")
        (dict "name" "zmq-port" "port" 55555 "targetPort" "zmq-port" "protocol" "TCP")
        (dict "name" "ucx-port" "port" 9999 "targetPort" "ucx-port" "protocol" "TCP")))
  | toYaml -}}
{{- end -}}
