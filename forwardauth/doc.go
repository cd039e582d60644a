// Package forwardauth answers reverse proxies: may this request pass, and who sent it? nginx asks by auth_request, Caddy by
// forward_auth, Traefik by forwardAuth, Envoy by ext_authz; a back end in any language can ask as well. The answer is a
// status and a few headers that the proxy passes on.
//
// The question is the request's own credential, and a query that is read strictly: permission= (repeatable, all are
// needed), max_age= seconds since the user proved who they are, fresh=true to ask the store whatever memory says, and
// login=redirect to send a browser that loads a page to the sign-in page. A query with anything else is refused: a mistyped
// permission must not open the door.
//
// The proxy has two duties that nobody can take over from it. Both are about headers that the client may have sent:
//
//   - No header of the answer (Handstamp-User and the others, or what Options.Headers renames them to) may reach the
//     application from the client. An answer leaves out what it does not know, such as an address that nobody verified or a
//     service key's session. A proxy that only copies what is there then lets the client's own Handstamp-Email through, and
//     the application believes it. So delete all six before asking, and also where nobody is asked. nginx: proxy_set_header
//     for each name with the variable of auth_request_set (an empty value sends no header). Traefik: name all six in
//     authResponseHeaders; it deletes those before it copies. Caddy: request_header -Handstamp-* before forward_auth, both
//     inside route, because otherwise Caddy sorts request_header behind it; the copy_headers of some versions does not
//     delete. Envoy: a header_mutation filter that removes all six, before ext_authz.
//   - It sets X-Forwarded-Method, -Proto, -Host, -Uri and -For to what it saw, and passes none of the client's on. They
//     count only from the addresses in handstamp.Options.TrustedProxies. The origin rules need the method: a proxy that
//     says none has other sites' requests let through.
//
// Package forwardauth never writes, sets no cookie, reads no body, and believes nothing that a request says about who sent
// it.
package forwardauth
