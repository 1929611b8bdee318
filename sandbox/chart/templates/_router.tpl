{{/* The router in front of all models. Each template takes the chart's scope. */}}

{{/* The command line. The router finds engines by the labels they share, in sorted order. */}}
{{- define "router.arguments" -}}
{{- $router := .Values.routerSpec -}}
{{- $arguments := list
    "--host" "0.0.0.0"
    "--port" (toString $router.containerPort)
    "--service-discovery" $router.serviceDiscovery
    "--k8s-namespace" .Release.Namespace
    "--k8s-service-discovery-type" $router.k8sServiceDiscoveryType
-}}
{{- if .Values.servingEngineSpec.enableEngine -}}
  {{- $pairs := list -}}
  {{- range $key, $value := .Values.servingEngineSpec.labels -}}
    {{- $pairs = append $pairs (printf "%s=%s" $key $value) -}}
  {{- end -}}
  {{- $arguments = concat $arguments (list "--k8s-label-selector" (join "," $pairs)) -}}
{{- end -}}
{{- $arguments = concat $arguments (list "--routing-logic" $router.routingLogic) -}}
{{- with $router.engineScrapeInterval -}}
  {{- $arguments = concat $arguments (list "--engine-stats-interval" (toString .)) -}}
{{- end -}}
{{- with $router.requestStatsWindow -}}
  {{- $arguments = concat $arguments (list "--request-stats-window" (toString .)) -}}
{{- end -}}
{{- concat $arguments $router.extraArgs | toYaml -}}
{{- end -}}

{{/* The one container. */}}
{{- define "router.container" -}}
{{- $router := .Values.routerSpec -}}
{{- $variables := list
    (dict "name" "PYTHONHASHSEED" "value" "123")
    (dict "name" "LMCACHE_LOG_LEVEL" "value" "DEBUG")
-}}
{{- if and .Values.servingEngineSpec.enableEngine .Values.servingEngineSpec.vllmApiKey -}}
  {{- $key := include "shared.apiKey" .Values.servingEngineSpec.vllmApiKey | fromYaml -}}
  {{- $variables = append $variables $key -}}
{{- end -}}
{{- $container := dict
    "name" "router-container"
    "image" (printf "%s:%s" $router.repository $router.tag)
    "imagePullPolicy" $router.imagePullPolicy
    "env" $variables
    "args" (include "router.arguments" . | fromYamlArray)
    "ports" (list
      (dict "name" "router-cport" "containerPort" $router.containerPort)
      (dict "name" "lmcache-port" "containerPort" 9000))
-}}
{{- with $router.resources }}{{ $_ := set $container "resources" . }}{{ end -}}
{{- range $name := list "livenessProbe" "startupProbe" "readinessProbe" -}}
  {{- $probe := deepCopy (get $router $name) -}}
  {{- $_ := set $probe.httpGet "port" $router.containerPort -}}
  {{- $_ := set $container $name $probe -}}
{{- end -}}
{{- toYaml $container -}}
{{- end -}}

{{/* The Deployment. */}}
{{- define "router.deployment" -}}
{{- $router := .Values.routerSpec -}}
{{- $name := printf "%s-deployment-router" .Release.Name -}}
{{- $metadata := dict "root" . "name" $name "labels" $router.labels -}}
{{- $template := dict "labels" $router.labels -}}
{{- with $router.podAnnotations }}{{ $_ := set $template "annotations" . }}{{ end -}}
{{- dict
    "apiVersion" "apps/v1"
    "kind" "Deployment"
    "metadata" (include "shared.metadata" $metadata | fromYaml)
    "spec" (dict
      "replicas" $router.replicaCount
      "strategy" (include "shared.strategy" $router.strategy | fromYaml)
      "selector" (dict "matchLabels" $router.labels)
      "template" (dict
        "metadata" $template
        "spec" (dict
          "serviceAccountName" (printf "%s-router-service-account" .Release.Name)
          "containers" (list (include "router.container" . | fromYaml)))))
  | toYaml -}}
{{- end -}}

{{/* The Service users talk to. */}}
{{- define "router.service" -}}
{{- $router := .Values.routerSpec -}}
{{- $name := printf "%s-router-service" .Release.Name -}}
{{- $metadata := dict "root" . "name" $name "labels" $router.labels -}}
{{- dict
    "apiVersion" "v1"
    "kind" "Service"
    "metadata" (include "shared.metadata" $metadata | fromYaml)
    "spec" (dict
      "type" $router.serviceType
      "selector" $router.labels
      "ports" (list
        (dict "name" "router-sport" "port" $router.servicePort "targetPort" $router.containerPort "protocol" "TCP")
        (dict "name" "lmcache-port" "port" 9000 "targetPort" "lmcache-port" "protocol" "TCP")))
  | toYaml -}}
{{- end -}}

{{/* What the router may do: look at pods, and label them. */}}
{{- define "router.access" -}}
{{- $account := printf "%s-router-service-account" .Release.Name -}}
{{- $role := printf "%s-reader" .Release.Name -}}
{{- $resources := list "pods" -}}
{{- if ne .Values.routerSpec.k8sServiceDiscoveryType "pod-ip" -}}
  {{- $resources = list "pods" "services" "endpoints" -}}
{{- end -}}
{{- $rule := dict "apiGroups" (list "") "resources" $resources "verbs" (list "get" "watch" "list" "patch") -}}
{{- $subject := dict "kind" "ServiceAccount" "name" $account "namespace" .Release.Namespace -}}
{{- $group := "rbac.authorization.k8s.io" -}}
{{- $binding := printf "%s-deployment-access-binding" .Release.Name -}}
{{- range $object := list
    (dict
      "apiVersion" "v1" "kind" "ServiceAccount"
      "metadata" (include "shared.metadata" (dict "root" . "name" $account) | fromYaml))
    (dict
      "apiVersion" (printf "%s/v1" $group) "kind" "Role"
      "metadata" (include "shared.metadata" (dict "root" . "name" $role) | fromYaml)
      "rules" (list $rule))
    (dict
      "apiVersion" (printf "%s/v1" $group) "kind" "RoleBinding"
      "metadata" (include "shared.metadata" (dict "root" . "name" $binding) | fromYaml)
      "subjects" (list $subject)
      "roleRef" (dict "apiGroup" $group "kind" "Role" "name" $role))
}}
---
{{ toYaml $object }}
{{- end -}}
{{- end -}}
