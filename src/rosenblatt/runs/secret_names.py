"""Names that stand for credentials: of hyperparameters, options, variables, keys of mappings, and files.

A name is split into words (`dbPassword`, `DB_PASSWORD` and `db.password` are the same), and its last word decides, so
that `api_key` and `hf_token` are secret, but `key_dim`, `max_tokens`, `pad_token` and `author` are hyperparameters.
"""

from __future__ import annotations

import re
from functools import lru_cache

_WORD = re.compile(r"[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+|\d+")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# words that make any name secret in which they stand, unless the name is that of a property of a password
_PASSWORD = re.compile(
    r"(?:password|passwd|passphrase|passcode|passwort|kennwort|contrase(?:ñ|n)a|senha|pwd|pswd|"
    r"psswd|wachtwoord|has[lł]o|парол[ьяи]|密码|パスワード)s?$"
)
_PROPERTIES = _words(
    "strength length len size count n num number policy file files path paths dir folder url uri type mode field "
    "fields column columns col name names label labels id ids idx index rule rules entropy score min max prompt "
    "enabled required expiry age ttl timeout attempts retries reset manager generator checker model loss weight dim "
    "prob rate ratio hint env var provider version format dataset "
    "date day days hour hours minutes seconds time at since"
)
_COUNTS = _words("n nr num number max min total count avg mean")  # as first words: numbers of something
# last words that do not change what a name stands for: `api_key_2`, `token_prod`, `OPENAI_KEY_VALUE`
_MODIFIERS = _words(
    "value values text string str plain plaintext base base64 b64 hex raw bytes hash hashed encrypted json header old "
    "new current previous confirm confirmation repeat prod production dev development test testing staging live "
    "sandbox default primary secondary backup github gitlab bitbucket openai anthropic azure aws gcp google wandb "
    "slack hf huggingface pypi npm db database postgres mysql redis smtp ftp"
)
# last words of secret names that need no other word
_SECRETS = _words(
    "secret secrets credential credentials creds cred authorization cookie cookies bearer jwt otp apikey pw "
    "pin mnemonic"
)
_AUTHENTICATION = _words("auth authentication")
# `token` is secret unless the word before it names a token of a text, an image or a sequence
_TEXT_TOKENS = _words(
    "pad padding eos bos unk unknown mask masked sep separator cls class start end begin stop eot eod eol sot eoi boi "
    "eou special image img video audio speech speaker sound blank null oov prefix suffix middle infix first last next "
    "prev extra additional decoder encoder per n num max min prompt target source src tgt lang language space word "
    "sub subword pre post de un multi byte bpe char character dist distill distillation register reg query latent "
    "memory mem dummy global local action state reward patch think thinking reasoning tool assistant system special "
    "newline nl vocab visual vision text empty filler instruction response answer question fim placeholder sentinel "
    "role reserved type by each top single input output skip keep drop merge mix document doc sentence segment turn "
    "head tail cross noise silence task domain style time frame object box point cell node edge graph frequent rare "
    "common punctuation whitespace delimiter sampled draft accepted"
)
_OWNED = _words("api access auth authentication refresh bearer session secret id personal csrf hf github gitlab bot")
# `key` is secret only after one of these words
_KEYS = _words(
    "api access private priv secret account shared storage encryption decryption encrypt decrypt signing sign "
    "signature master client deploy deployment ssh ssl tls auth sas app application consumer service subscription "
    "license licence webhook hmac aes rsa gpg pgp fernet rest server admin root session openai anthropic wandb azure "
    "aws gcp google huggingface hf mistral cohere groq neptune comet clearml sendgrid stripe mailgun datadog dd "
    "newrelic host jwt"
)
# `pass` is secret unless it counts passes or filters frequencies
_PASSES = _words(
    "forward backward low high band all single one two first second third last multi by n per train training test "
    "eval inference optimizer compiler final each full extra bypass max min num"
)
_ABBREVIATION = re.compile(
    r"(?:db|user|root|admin|my|pg|mysql|smtp|ftp|ldap|require|(?:src|dest)?store|key|trust|bind|master|redis|mongo|mail|"
    r"email|ssh|sudo|wifi|login)?pass|(?:j|php|asp)?sess(?:ion)?id"
)
_CODES = _words("recovery backup verification access auth authorization mfa otp totp security")
_PHRASES = _words("seed recovery mnemonic secret")
# first words of functions that return a credential, or do something else with its name
_GETTERS = _words(
    "get read load fetch ask find lookup has is delete remove rotate create generate make input parse validate count "
    "test print show list need needs require requires on from"
)
# last words that are secret names by themselves, but often stand for something else
_AMBIGUOUS = _words(
    "token tokens key keys auth authentication cookie cookies bearer jwt otp pass pin pw cred signature code phrase "
    "mnemonic"
)
_SIGNATURE_OWNERS = _words("shared access amz goog aws")  # SharedAccessSignature, X-Amz-Signature

_HARMLESS = re.compile(
    r"\s*(?:|none|null|nil|true|false|required|optional|redacted|masked|unset|\*+)\s*", re.IGNORECASE
)  # also of texts
_SPECIAL_TOKEN = re.compile(r"\s*(?:<[^<>]{0,60}>|\[[^\[\]]{0,30}\]|\{\{[^{}]{0,30}\}\})\s*")  # <eos>, <|user|>, [PAD]
_SMALL_NUMBER = re.compile(r"\s*\d{1,5}(?:[./]\d+)?\s*")  # of a token
_AUTHENTICATION_SCHEME = re.compile(
    r"\s*(?:[\d.]+|basic|bearer|digest|oauth2?|kerberos|ntlm|negotiate|ldap|sso|token|password|iam|anonymous|required|"
    r"optional|scram-sha-\d+)\s*",
    re.IGNORECASE,
)
_TECHNICAL = re.compile(  # words with digits that are no credentials
    r"[a-z]{1,5}[-_.]?\d{1,4}|[\d.,:;/x%+-]+[a-z]{0,3}|v?\d[\w.+-]*\.[\w.+-]*|[a-z_]{2,40}(?:\.[\w-]{1,40}){1,20}|"
    r"(?:sha|md|oauth|argon|pbkdf|bcrypt|base|http|utf|latin|bert|gpt|llama|resnet|layer|block|field|column|feature|"
    r"encoder|decoder|sample|version|branch|config|server|worker|device|number|class|label|token|vector|cluster)[\w.-]*",
    re.IGNORECASE,
)

_CREDENTIAL_FILES = (
    r"(?i).*\.env|\.?_?netrc|\.?(?:pgpass|pypirc|npmrc|yarnrc\.yml|git-credentials|htpasswd|my\.cnf|"
    r"vault[-_](?:token|pass(?:word)?(?:\.txt)?)|(?:bash|zsh|python|psql|mysql|rediscli)_history|dockercfg|dockerconfigjson|boto|s3cfg|rclone\.conf|kubeconfig|htdigest)|pgpass\.conf|rclone\.conf|"
    r"kaggle\.json|.*firebase-adminsdk.*\.json|id_(?:rsa|dsa|ecdsa|ed25519|xmss)(?:_sk)?(?:[._-](?!pub$).*)?|"
    r".*\.(?:pem|key|p8|p12|pfx|pkcs12|jks|jceks|keystore|ppk|kdbx?|kwallet|agekey|asc|gpg|ovpn|tfvars(?:\.json)?|"
    r"tfstate(?:\.backup)?|keytab|kubeconfig|mobileprovision|pkpass)|"
    r"(?:.*[-_.])?(?:passwords?|passwd)(?:\.\w+)?|"
    r"(?:.*[-_.])?(?:credentials?|secrets?|kubeconfig|service[-_]?account|access[-_]?keys?|"
    r"api[-_]?keys?|client[-_]?secret|(?:auth|access|api|refresh|hf|github)[-_]?tokens?)"
    r"(?:[-_.].*)?|token(?:\.(?:json|txt|pickle|pkl))?|auth\.json|wp-config\..*|"
    r"(?:.*[-_.])?(?:gcp|gcloud|google|firebase|sa|service|private)[-_]?key\.json|"
    r"\.sops\.ya?ml|local\.settings\.json|\.(?:databrickscfg|flaskenv|renviron|modal\.toml|msmtprc|mbsyncrc|fetchmailrc|"
    r"authinfo|terraformrc|passwd-s3fs|comet\.config|snowsql|mongorc\.js|dbshell)|(?:.*-)?openrc(?:\.sh)?|clouds\.ya?ml|"
    r"ngrok\.yml|nuget\.config|cookies\.(?:txt|json|sqlite)|logins\.json|key[34]\.db|wallet\.dat|krb5cc_.*|"
    r"sitemanager\.xml|stored_tokens|.*\.(?:publishsettings|keychain(?:-db)?|rdp)|\.\w+_history"
)
# places of credentials whose names alone do not show it, below the root or a home folder
_CREDENTIAL_PATHS = re.compile(
    r"(?:.*/)?(?:\.config/(?:gh/hosts\.yml|hub|glab-cli/config\.yml|doctl/config\.yaml|gcloud/.*|ngrok/.*|pypoetry/auth\.toml|"
    r"wandb/settings|op/config|sops/age/keys\.txt|hcloud/cli\.toml|stripe/config\.toml)|\.azure/.*|\.oci/.*|\.aliyun/.*|"
    r"\.(?:mc|minio)/config\.json|\.m2/settings(?:-security)?\.xml|\.gradle/gradle\.properties|\.dbt/profiles\.yml|"
    r"\.snow(?:flake|sql)/(?:config|config\.toml|connections\.toml)|\.(?:cache/)?huggingface/token|\.fly/config\.yml|"
    r"\.jupyter/jupyter_server_config\.json|\.terraform\.d/.*|\.cargo/credentials.*|\.ngrok2/.*|\.cloudflared/.*|"
    r"\.lftp/rc|\.(?:linode|heroku|vercel|netlify|kaggle|modal)/.*)",
    re.IGNORECASE,
)
_SECRET_FOLDERS = {".aws": None, ".ssh": None, ".gnupg": None, ".docker": "config.json", ".kube": "config"}
_CODE = re.compile(r".*\.(?:py|pyi|pyx|ipynb|md|rst|c|cc|cpp|h|rs|go|js|ts|java)", re.IGNORECASE)
_PUBLIC = re.compile(
    r".*(?:\.pub|[._-](?:example|sample|template|dist))|.*\.(?:example|sample|template)\..*", re.IGNORECASE
)


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether the value under this name is usually a credential.

    >>> [is_secret_name(name) for name in ("dbPassword", "--api-key", "pad_token", "key_dim")]
    [True, True, False, False]
    """
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[0] in _COUNTS:
        return False
    if any(map(_PASSWORD.search, words)):
        return words[-1] not in _PROPERTIES
    while len(words) > 1 and (words[-1] in _MODIFIERS or words[-1].isdigit()):
        words.pop()
    last, previous = words[-1], words[-2] if len(words) > 1 else ""
    if last in _SECRETS or last in _AUTHENTICATION or last.endswith("secret"):
        return True
    if last.endswith(("token", "tokens")):
        return _is_secret_token(last, previous)
    if last == "id":
        return words[-3:] == ["private", "key", "id"]  # of a Google service account
    if last.endswith(("code", "phrase")):
        owners = _CODES if last.endswith("code") else _PHRASES
        return (last.removesuffix("code").removesuffix("phrase") or previous) in owners
    if last.endswith(("key", "keys")):
        return (last.rstrip("s").removesuffix("key") or previous) in _KEYS
    if last.endswith("signature"):
        return (last.removesuffix("signature") or previous) in _SIGNATURE_OWNERS
    return bool(_ABBREVIATION.fullmatch(last)) and previous not in _PASSES


def _is_secret_token(last: str, previous: str) -> bool:
    owner = last.removesuffix("s").removesuffix("token") or previous
    return owner in _OWNED if last.endswith("s") else owner not in _TEXT_TOKENS


def is_password_name(name: str) -> bool:
    """Whether a secret name is that of a password, rather than of a token or a key."""
    return any(_PASSWORD.search(word.lower()) for word in _WORD.findall(name))


@lru_cache(maxsize=4096)
def is_unambiguous(name: str) -> bool:
    """Whether a secret name stands for a credential even if nothing is assigned to it, unlike `token`."""
    words = [word.lower() for word in _WORD.findall(name)]
    last, previous = words[-1], words[-2] if len(words) > 1 else ""
    if last not in _AMBIGUOUS or is_password_name(name):
        return True
    return previous in _OWNED | _KEYS | _CODES | _PHRASES or (bool(previous) and not name.count(" "))


@lru_cache(maxsize=4096)
def is_secret_call(name: str) -> bool:
    """Whether texts in the arguments of this function are usually credentials: `set_password("x")`."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not is_secret_name(name) or words[0] in _GETTERS:
        return False
    return is_unambiguous(name) or words[-1] in _AUTHENTICATION


def is_harmless(name: str, value: str) -> bool:
    """Whether a value under a secret name is no credential: empty, a Boolean, `[PAD]` as a token, `basic` as auth."""
    if _HARMLESS.fullmatch(value):
        return True
    last = next(iter([word.lower() for word in _WORD.findall(name)][-1:]), "")
    if last in _AUTHENTICATION:
        return bool(_AUTHENTICATION_SCHEME.fullmatch(value))
    if last == "pin":
        return len(value) < 20 and not re.fullmatch(r"\s*(?:\d{4,12}|[^\W_]{6,})\s*", value)  # of a device
    if last == "pass":
        return bool(re.match(r"\s*\d{1,2}(?:\s|$)", value))  # the number of a pass
    return last.endswith(("token", "tokens")) and bool(
        _SPECIAL_TOKEN.fullmatch(value) or _SMALL_NUMBER.fullmatch(value)
    )


def looks_generated(text: str) -> bool:
    """Whether a word looks like a password or a token, rather than like a word, a number, a path or an identifier."""
    if len(text) < 6 or "://" in text or text[0] in "/~<[{$%" or _TECHNICAL.fullmatch(text):
        return False
    has_digit, has_letter = any(map(str.isdigit, text)), any(map(str.isalpha, text))
    if has_digit and has_letter:
        return True
    return has_letter and ((len(text) >= 20 and text.isalpha()) or any(mark in text for mark in "!#$^&*+~"))


def is_secret_file(path: str) -> bool:
    """Whether a file of this name, or of this path below the root of a source, usually holds credentials."""
    *folders, name = path.replace("\\", "/").split("/")
    for folder in folders:
        if folder in _SECRET_FOLDERS and _SECRET_FOLDERS[folder] in (None, name):
            return not name.endswith(".pub")
    if name.startswith(".env") or _CREDENTIAL_PATHS.fullmatch("/".join([*folders, name])):
        return True
    if _CODE.fullmatch(name) or _PUBLIC.fullmatch(name):
        return False
    return bool(re.fullmatch(_CREDENTIAL_FILES, name))
