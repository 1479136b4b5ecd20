-- Authorizes a request at authentik-proxy; see haproxy.cfg. Sets txn.authentik_status to the status of
-- the answer (0 without one), txn.authentik_url to the URL of the request, and, on a request that is
-- allowed, the identity headers, and the application's own cookies and credentials. The latter needs
-- AUTHENTIK_PROXY_SESSION__ECHO_CREDENTIALS=true at the outpost: without it the application gets
-- neither.

-- Add those that the application reads, such as x-authentik-jwt.
local names = {
  "x-authentik-username", "x-authentik-groups", "x-authentik-entitlements",
  "x-authentik-email", "x-authentik-name", "x-authentik-uid",
}

-- The headers that the answer depends on.
local sent = {
  "cookie", "authorization", "user-agent", "accept", "origin", "upgrade", "x-requested-with",
  "access-control-request-method", "x-forwarded-for", "referer", "purpose", "x-moz",
  "sec-fetch-mode", "sec-fetch-dest", "sec-fetch-site", "sec-purpose",
}

-- All values of a header, in order.
local function values(request, name)
  local found = {}
  if request[name] then
    for index = 0, #request[name] do
      table.insert(found, request[name][index])
    end
  end
  return found
end

core.register_action("authentik", { "http-req" }, function(txn, outpost)
  local request = txn.http:req_get_headers()
  local scheme = txn.f:ssl_fc() == 1 and "https" or "http"
  local host = txn.f:req_fhdr("host") or ""
  local url = scheme .. "://" .. host .. txn.f:pathq()
  txn:set_var("txn.authentik_url", url)

  local headers = { ["x-original-url"] = { url }, ["x-original-method"] = { txn.f:method() } }
  for _, name in ipairs(sent) do
    if request[name] then
      headers[name] = values(request, name)
    end
  end
  local answer = core.httpclient():get({
    -- The host that HAProxy routes by, which the outpost compares with that of the URL.
    url = outpost .. "/outpost.goauthentik.io/auth/nginx?host=" .. host,
    headers = headers,
    -- Of one attempt, in milliseconds. HAProxy 2.6 makes up to four.
    timeout = 2500,
  })
  local status = answer and answer.status or 0
  txn:set_var("txn.authentik_status", status)
  if status ~= 200 then
    return
  end
  for _, name in ipairs(names) do
    local value = answer.headers[name] and answer.headers[name][0]
    if value and value ~= "" then
      txn.http:req_set_header(name, value)
    end
  end
  for _, name in ipairs({ "cookie", "authorization" }) do
    txn.http:req_del_header(name)
    for _, value in ipairs(values(answer.headers, name)) do
      txn.http:req_add_header(name, value)
    end
  end
end, 1)
