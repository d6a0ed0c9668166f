// Waits until the delivery API of Contentful shows what a webhook is about: a published
// entry or asset in the revision of the webhook, or a newer one; one that was unpublished or
// deleted no more. For receivers whose sender does not wait for them.
//
//   if (await shown(webhook, { token: process.env.CDA_TOKEN })) rebuild()
//
// webhook is the body of the webhook. It resolves to whether that is shown, at the latest
// after timeout milliseconds. What it compares is sys.revision, which the delivery API has,
// too; sys.publishedVersion is another number, and larger.

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

export async function shown(webhook, { token, host = 'https://cdn.contentful.com', timeout = 300_000, first = 1000, longest = 15_000 }) {
  const { sys } = webhook
  const gone = sys.type.startsWith('Deleted')
  const kind = sys.type.endsWith('Asset') ? 'assets' : 'entries'
  const part = (link) => encodeURIComponent(link.sys.id)
  const url = `${host}/spaces/${part(sys.space)}/environments/${part(sys.environment)}/${kind}/${encodeURIComponent(sys.id)}`
  const ends = Date.now() + timeout

  for (let wait = first; ; wait = Math.min(wait * 2, longest)) {
    let asked = 0
    try {
      const answer = await fetch(url, {
        headers: { authorization: `Bearer ${token}` },
        redirect: 'manual',
        signal: AbortSignal.timeout(10_000),
      })
      if (gone && answer.status === 404) return true
      const body = await answer.text()
      if (!gone && answer.status === 200 && JSON.parse(body).sys.revision >= sys.revision) return true
      if (answer.status === 429) asked = 1000 * Number(answer.headers.get('retry-after') ?? answer.headers.get('x-contentful-ratelimit-reset') ?? 0)
    } catch {
      // No answer, or none that is JSON: asked again like any other.
    }
    const left = ends - Date.now()
    if (left <= 0) return false
    await pause(Math.min(Math.max(wait, asked || 0), left))
  }
}
