// A receiver for each scheme, as the owner's documentation has it: the library verifies the
// body as it came. It answers 200 where the library takes the request, else 401 with the
// reason. The first line on standard output is the port.
import http from "node:http";
import { verifyRequest } from "@contentful/node-apps-toolkit";
import { Webhooks } from "@octokit/webhooks";
import { Webhook } from "standardwebhooks";
import Stripe from "stripe";

const env = process.env;
const octokit = new Webhooks({ secret: env.TEXT });
const stripe = new Stripe("sk_test_none");

const takes = {
  standard: ({ body, headers }) => {
    new Webhook(env.STANDARD).verify(body, headers);
    return true;
  },
  github: async ({ body, headers }) => {
    let seen;
    octokit.on("push", ({ payload }) => { seen = payload; });
    await octokit.verifyAndReceive({
      id: headers["x-github-delivery"], name: headers["x-github-event"], payload: body, signature: headers["x-hub-signature-256"],
    });
    return seen !== undefined;
  },
  stripe: ({ body, headers }) => stripe.webhooks.constructEvent(body, headers["stripe-signature"], env.TEXT) !== undefined,
  contentful: ({ method, url, body, headers }) => verifyRequest(env.CONTENTFUL, { method, path: url, headers, body }, 30),
};

const server = http.createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const { method, url, headers } = request;
  const scheme = url.split(/[/?]/)[1];
  try {
    const taken = await takes[scheme]({ method, url, headers, body: Buffer.concat(chunks).toString() });
    response.writeHead(taken ? 200 : 401).end(taken ? "" : "not verified");
  } catch (error) {
    response.writeHead(401).end(String(error));
  }
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit()).resume(); // its parent has ended
