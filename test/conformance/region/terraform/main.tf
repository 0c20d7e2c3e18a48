# A small site as Terraform's users write it: a network with a way out, a place for
# files, a role, and a machine.
terraform {
  required_providers {
    aws = {
      source = "hashicorp/aws"
    }
  }
}

# Where the region is, and who asks, is in the environment (AWS_ENDPOINT_URL, …).
provider "aws" {
  s3_use_path_style = true
  default_tags {
    tags = { site = "terraform" }
  }
}

data "aws_availability_zones" "all" {
  state = "available"
}

data "aws_ami" "base" {
  owners      = ["amazon"]
  most_recent = true
  filter {
    name   = "architecture"
    values = ["x86_64"]
  }
}

resource "aws_vpc" "site" {
  cidr_block           = "10.20.0.0/16"
  enable_dns_hostnames = true
}

resource "aws_subnet" "public" {
  vpc_id                  = aws_vpc.site.id
  cidr_block              = "10.20.1.0/24"
  availability_zone       = data.aws_availability_zones.all.names[0]
  map_public_ip_on_launch = true
}

resource "aws_internet_gateway" "out" {
  vpc_id = aws_vpc.site.id
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.site.id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.out.id
  }
}

resource "aws_route_table_association" "public" {
  subnet_id      = aws_subnet.public.id
  route_table_id = aws_route_table.public.id
}

resource "aws_security_group" "ssh" {
  name   = "ssh"
  vpc_id = aws_vpc.site.id
  ingress {
    from_port   = 22
    to_port     = 22
    protocol    = "tcp"
    cidr_blocks = ["10.0.0.0/8"]
  }
  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_s3_bucket" "files" {
  bucket        = "terraform-site-files"
  force_destroy = true
}

resource "aws_s3_bucket_versioning" "files" {
  bucket = aws_s3_bucket.files.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_object" "motd" {
  bucket     = aws_s3_bucket.files.id
  key        = "motd.txt"
  content    = "welcome\n"
  depends_on = [aws_s3_bucket_versioning.files]
}

resource "aws_iam_role" "node" {
  name = "terraform-node"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy" "read" {
  role = aws_iam_role.node.id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "s3:GetObject", Resource = "${aws_s3_bucket.files.arn}/*" }]
  })
}

resource "aws_iam_instance_profile" "node" {
  name = "terraform-node"
  role = aws_iam_role.node.name
}

resource "aws_instance" "machine" {
  ami                    = data.aws_ami.base.id
  instance_type          = "t3.micro"
  subnet_id              = aws_subnet.public.id
  vpc_security_group_ids = [aws_security_group.ssh.id]
  iam_instance_profile   = aws_iam_instance_profile.node.name
  tags                   = { Name = "machine" }
}

resource "aws_efs_file_system" "home" {
  creation_token = "home"
  encrypted      = true
}

resource "aws_efs_mount_target" "home" {
  file_system_id  = aws_efs_file_system.home.id
  subnet_id       = aws_subnet.public.id
  security_groups = [aws_security_group.ssh.id]
}

resource "aws_ssm_parameter" "machine" {
  name  = "/terraform/machine"
  type  = "String"
  value = aws_instance.machine.private_ip
}

output "instance" {
  value = aws_instance.machine.id
}

resource "aws_dynamodb_table" "nodes" {
  name         = "terraform-nodes"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "Id"
  attribute {
    name = "Id"
    type = "S"
  }
}

resource "aws_route53_zone" "private" {
  name = "site.internal"
  vpc {
    vpc_id = aws_vpc.site.id
  }
}

resource "aws_route53_record" "machine" {
  zone_id = aws_route53_zone.private.zone_id
  name    = "machine.site.internal"
  type    = "A"
  ttl     = 60
  records = [aws_instance.machine.private_ip]
}

resource "aws_cloudwatch_log_group" "site" {
  name              = "/terraform/site"
  retention_in_days = 7
}

resource "aws_secretsmanager_secret" "password" {
  name                    = "terraform-password"
  recovery_window_in_days = 0
}

resource "aws_secretsmanager_secret_version" "password" {
  secret_id     = aws_secretsmanager_secret.password.id
  secret_string = "secret"
}

resource "aws_launch_template" "login" {
  name          = "terraform-login"
  image_id      = data.aws_ami.base.id
  instance_type = "t3.micro"
}

resource "aws_lb" "login" {
  name               = "terraform-login"
  internal           = true
  load_balancer_type = "network"
  subnets            = [aws_subnet.public.id]
}

resource "aws_lb_target_group" "login" {
  name     = "terraform-login"
  port     = 22
  protocol = "TCP"
  vpc_id   = aws_vpc.site.id
}

resource "aws_lb_listener" "login" {
  load_balancer_arn = aws_lb.login.arn
  port              = 22
  protocol          = "TCP"
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.login.arn
  }
}

resource "aws_autoscaling_group" "login" {
  name                      = "terraform-login"
  min_size                  = 1
  max_size                  = 1
  vpc_zone_identifier       = [aws_subnet.public.id]
  target_group_arns         = [aws_lb_target_group.login.arn]
  wait_for_capacity_timeout = "0"
  force_delete              = true
  launch_template {
    id      = aws_launch_template.login.id
    version = aws_launch_template.login.latest_version
  }
}

resource "aws_cloudformation_stack" "parameter" {
  name          = "terraform-stack"
  template_body = jsonencode({ Resources = { P = { Type = "AWS::SSM::Parameter", Properties = { Name = "/terraform/stack", Type = "String", Value = "1" } } } })
}

resource "aws_sns_topic" "events" {
  name = "terraform-events"
}

resource "aws_kms_key" "disks" {
  description             = "disks of the site"
  deletion_window_in_days = 7
  enable_key_rotation     = true
  tags                    = { Stage = "test" }
}

resource "aws_kms_alias" "disks" {
  name          = "alias/terraform-disks"
  target_key_id = aws_kms_key.disks.key_id
}

resource "aws_ecr_repository" "jobs" {
  name         = "terraform/jobs"
  force_delete = true
}

resource "aws_placement_group" "near" {
  name     = "terraform-near"
  strategy = "cluster"
}

resource "aws_ec2_capacity_reservation" "room" {
  instance_type     = "c5.large"
  instance_platform = "Linux/UNIX"
  availability_zone = "us-east-1a"
  instance_count    = 1
}

resource "aws_ebs_volume" "scratch" {
  availability_zone = "us-east-1a"
  size              = 10
  type              = "gp3"
  encrypted         = true
  kms_key_id        = aws_kms_key.disks.arn
}
