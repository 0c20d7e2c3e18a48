#!/bin/bash
# The deployment part of the Blue Brain document, command by command and in its
# order, as one types it beside ./config and ./scripts. Only the names of files,
# keys and the user differ. The caller has adopted the cluster file and put
# users.json into the EFS file system in between, as marked.
set -euo pipefail

aws ec2 create-key-pair --key-name aws_coreservices \
                        --query KeyMaterial \
                        --output text > aws_coreservices.pem
chmod 600 aws_coreservices.pem

"$ADOPT" # what exists already in the account of the document

aws s3 sync ./config/s3 s3://sboinfrastructureassets/config/
aws s3 sync ./scripts/s3 s3://sboinfrastructureassets/scripts/

# "Check for errors using the status": the document's authors parse a dry run.
set +e
dryrun=$(pcluster create-cluster --cluster-configuration ./config/compute-cluster.yaml \
                                 --cluster-name sbo-parallelcluster-20241215 \
                                 --dryrun true)
status=$?
set -e
[ "$status" = 1 ] || { echo "dry run: exit status $status, want 1" >&2; exit 1; }
[ "$(jq -r .message <<< "$dryrun")" = "Request would have succeeded, but DryRun flag is set." ] || {
	echo "dry run said: $dryrun" >&2
	exit 1
}

pcluster create-cluster --cluster-configuration ./config/compute-cluster.yaml \
                        --cluster-name sbo-parallelcluster-20241215 \
                        --rollback-on-failure false

[ "$(pcluster describe-cluster --cluster-name sbo-parallelcluster-20241215 \
                               --query clusterStatus)" = '"CREATE_IN_PROGRESS"' ]

end=$((SECONDS + 180))
until [ "$(pcluster describe-cluster --cluster-name sbo-parallelcluster-20241215 \
                                     --query clusterStatus)" = '"CREATE_COMPLETE"' ]; do
	case $(pcluster describe-cluster --cluster-name sbo-parallelcluster-20241215 --query clusterStatus) in
	*FAILED*) pcluster describe-cluster --cluster-name sbo-parallelcluster-20241215 >&2; exit 1 ;;
	esac
	[ "$SECONDS" -lt "$end" ] || { echo "still not CREATE_COMPLETE" >&2; exit 1; }
	sleep 1
done

[ "$(aws cloudformation describe-stacks --stack-name "sbo-parallelcluster-20241215" | jq -r ".Stacks[].StackStatus")" = CREATE_COMPLETE ]

ip=$(pcluster describe-cluster --cluster-name sbo-parallelcluster-20241215 \
                               --query headNode.privateIpAddress)
ip=${ip//\"/}
echo "head node: $ip"

[ "$(ssh -o BatchMode=yes -i ./scientist "$SCIENTIST@$ip" whoami)" = "$SCIENTIST" ]

[ "$(pcluster ssh --cluster-name sbo-parallelcluster-20241215 -i aws_coreservices.pem whoami)" = ec2-user ]
