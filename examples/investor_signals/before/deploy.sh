#!/usr/bin/env bash
# Builds on whoever's laptop, pushes a tag that moves, and hopes that the rollout went well.
set -euo pipefail

account=123456789012
region=us-east-1
repository="$account.dkr.ecr.$region.amazonaws.com/investor-signals"

docker build -t "$repository:latest" .
aws ecr get-login-password --region "$region" | docker login --username AWS --password-stdin "${repository%%/*}"
docker push "$repository:latest"
aws lightsail create-container-service-deployment --service-name investor-signals --region "$region" \
  --containers "{\"app\": {\"image\": \"$repository:latest\", \"ports\": {\"8080\": \"HTTP\"}}}" \
  --public-endpoint '{"containerName": "app", "containerPort": 8080, "healthCheck": {"path": "/health"}}'
echo "deployed, probably"
