"""Names of credentials are told from names of hyperparameters, and files of credentials from others."""

from __future__ import annotations

import pytest

from rosenblatt.runs.secret_names import is_harmless, is_secret_file, is_secret_name

SECRET_NAMES = """
    password passwd pwd pass PASSWORD db_password dbPassword DB_PASSWORD db.password --db-password
    user[password] pgpassword PGPASSWORD MYSQL_PWD mysqlpwd rootPassword password1 password_2 password_new
    passwordConfirm password_for_ana pw userpass db_pass passphrase keyPassphrase Passwort contraseña secret
    client_secret clientSecret secrets SECRET_KEY_BASE token --token auth_token authToken authtoken access_token
    refreshToken bot_token HF_TOKEN tokenProd token_value hf_tokens api_tokens apikey api-key apiKey APIKey
    API_KEYS OPENAI_API_KEY OPENAI_KEY api_key_2 accountKey AccountKey SharedAccessKey secretAccessKey
    aws_secret_access_key private_key signing_key ssh_keys encryptionKey credentials gcp_credentials creds auth
    basic_auth private_key_id pin card_pin JSESSIONID
    recovery_code seed_phrase requirepass storepass pswd Authorization
    proxy-authorization Set-Cookie cookies jwt SharedAccessSignature X-Amz-Signature
"""
HYPERPARAMETERS = """
    pad_token --pad-token padToken eos_token bos_token unk_token mask_token sep_token cls_token
    decoder_start_token pad_token_id eos_token_id forced_bos_token fim_prefix_token image_token token_count
    max_tokens max_new_tokens n_token tokens_per_batch num_tokens tokens tokenizer tokenizer_name tokenize
    token_type token_dim token_dropout mask_token_prob time_per_token prompt_tokens special_tokens
    additional_special_tokens author authors authority auth_dim key key_dim num_keys keys keypoints keyboard
    primary_key foreign_key sort_key public_key prng_key random_key passes n_passes forward_pass low_pass
    bandpass passenger password_strength password_length password_file max_password_attempts secret_santa
    secretary accuracy compass monkey turkey access_key_id pinned pin_memory pincode session_id
    query_key_value password_strength_model token_path cookie_cutter learning_rate
"""
SECRET_FILES = """
    .vault-token x-firebase-adminsdk-1a.json .bash_history .python_history
    .env .env.local .env.production prod.env .envrc .netrc _netrc .pgpass pgpass.conf .npmrc .pypirc
    .git-credentials .htpasswd credentials credentials.json google-credentials.json client_secret_12.json
    service-account.json my_service_account-3.json id_rsa id_ed25519 id_ecdsa_sk server.pem server.key cert.p12
    cert.pfx a.jks a.keystore a.kdbx kubeconfig .aws/credentials .aws/config .docker/config.json .kube/config
    .ssh/config terraform.tfvars prod.tfvars.json terraform.tfstate secrets.yml secrets.toml
    .streamlit/secrets.toml my-secrets.yaml passwords.txt token.json token.txt api_key.txt hf_token.txt
    kaggle.json rclone.conf private.ppk .config/gh/hosts.yml .sops.yaml local.settings.json .databrickscfg
    .azure/accessTokens.json .m2/settings.xml .dbt/profiles.yml ngrok.yml cookies.txt .cache/huggingface/token
"""
OTHER_FILES = """
    train_history firebase.json
    train.py environment.yml keys.py secretary.py secrets.py credentials.md tokenizer.json tokens.txt
    keypoints.csv id_rsa.pub password_strength.csv docker/config.json config.json monkey.txt key.txt author.csv
    secrets.example.yml hosts.yml settings.json settings.xml profiles.yml gh/hosts.yml data/history.csv
"""


@pytest.mark.parametrize("name", SECRET_NAMES.split())
def test_names_of_credentials_are_secret(name):
    assert is_secret_name(name)


@pytest.mark.parametrize("name", HYPERPARAMETERS.split())
def test_names_of_hyperparameters_are_not_secret(name):
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("password", "", True),
        ("use_auth_token", "true", True),
        ("token", "None", True),
        ("user_token", "<|user|>", True),
        ("token", "[PAD]", True),
        ("auth", "basic", True),
        ("auth", "3", True),
        ("password", "<geheim>", False),
        ("token", "abc", False),
        ("auth", "ana:x", False),
    ],
)
def test_values_that_are_no_credentials_are_harmless(name, value, expected):
    assert is_harmless(name, value) is expected


@pytest.mark.parametrize(
    "path",
    SECRET_FILES.split(),
)
def test_files_of_credentials_are_recognized_by_name(path):
    assert is_secret_file(path)
    assert is_secret_file(f"/home/ana/project/{path}")


@pytest.mark.parametrize(
    "path",
    OTHER_FILES.split(),
)
def test_other_files_are_not(path):
    assert not is_secret_file(path)
