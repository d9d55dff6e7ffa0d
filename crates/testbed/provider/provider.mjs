// A real OpenID Connect provider, whose person is whoever a test says: node provider.mjs SETTINGS
//
// SETTINGS is JSON: port, redirect_uri, client_id, client_secret, seed. Another seed gives other keys. The person is set by
// PUT /person with their claims. It prints one line when it listens.
import { createHash, createPrivateKey, createPublicKey } from "node:crypto";
import { createServer } from "node:http";
import Provider from "oidc-provider";

const settings = JSON.parse(process.argv[2]);
const issuer = `http://127.0.0.1:${settings.port}`;
let person = { sub: "nobody" };

// An Ed25519 key of the seed (RFC 8410), so that another seed gives another key.
function key(seed) {
  const bytes = createHash("sha256").update(String(seed)).digest();
  const head = Buffer.from("302e020100300506032b657004220420", "hex");
  const der = Buffer.concat([head, bytes]);
  const secret = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  const kid = createHash("sha256")
    .update(createPublicKey(secret).export({ format: "der", type: "spki" }))
    .digest("hex")
    .slice(0, 16);
  return { ...secret.export({ format: "jwk" }), kid, alg: "EdDSA", use: "sig" };
}

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: settings.client_id,
      client_secret: settings.client_secret,
      redirect_uris: [settings.redirect_uri],
      id_token_signed_response_alg: "EdDSA",
    },
  ],
  jwks: { keys: [key(settings.seed)] },
  enabledJWA: { idTokenSigningAlgValues: ["EdDSA"] },
  cookies: { keys: ["for tests"] },
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "preferred_username", "groups"] },
  features: { devInteractions: { enabled: false } },
  pkce: { required: () => true },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  ttl: { Interaction: 600, Session: 600, Grant: 600, AccessToken: 600, IdToken: 600 },
  async findAccount(_, sub) {
    return { accountId: sub, claims: async () => ({ ...person, sub }) };
  },
  // Nobody is asked for consent.
  async loadExistingGrant(ctx) {
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client.clientId,
      accountId: ctx.oidc.session.accountId,
    });
    grant.addOIDCScope("openid email profile");
    await grant.save();
    return grant;
  },
});

async function body(request) {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return JSON.parse(Buffer.concat(pieces).toString());
}

const handle = provider.callback();
createServer(async (request, response) => {
  try {
    if (request.method === "PUT" && request.url === "/person") {
      person = await body(request);
      response.writeHead(204).end();
    } else if (request.url.startsWith("/interaction/")) {
      const result = { login: { accountId: person.sub } };
      await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
    } else {
      handle(request, response);
    }
  } catch (error) {
    response.writeHead(500).end(String(error));
  }
}).listen(settings.port, "127.0.0.1", () => console.log("listening"));
