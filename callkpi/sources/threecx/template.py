"""The CRM template that makes a 3CX tell callkpi of each call; ``GET /hooks/NAME?template`` shows it."""

from __future__ import annotations

#: What callkpi reads of a call that 3CX journals, and the expression of 3CX for it.
VALUES = {
    "callType": "[CallType]",
    "direction": "[CallDirection]",
    "number": "[Number]",
    "agent": "[Agent]",
    "queue": "[QueueExtension]",
    "duration": "[Duration]",
    "started": '[[CallStartTimeUTC].ToString("yyyy-MM-ddTHH:mm:ssZ")]',
    "established": '[[CallEstablishedTimeUTC].ToString("yyyy-MM-ddTHH:mm:ssZ")]',
    "ended": '[[CallEndTimeUTC].ToString("yyyy-MM-ddTHH:mm:ssZ")]',
}
#: Expressions in expressions are evaluated twice.
_PASSES = {"started": 2, "established": 2, "ended": 2}
_VALUE = '          <Value Key="{key}" Passes="{passes}" Type="String">{value}</Value>'
_TEMPLATE = """\
<?xml version="1.0" encoding="utf-8"?>
<Crm xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema" \
Country="GB" Name="callkpi" Version="1" SupportsEmojis="false">
  <Number Prefix="AsIs" MaxLength="" />
  <Connection MaxConcurrentRequests="4" />
  <Parameters>
    <Parameter Name="Door" Type="String" Parent="General Configuration" Editor="String" \
Title="callkpi: address of the door, https://HOST/hooks/NAME" Default="" />
    <Parameter Name="Token" Type="Password" Parent="General Configuration" Editor="String" \
Title="callkpi: token of the source" Default="" />
    <Parameter Name="ReportCallEnabled" Type="Boolean" Parent="Call Reporting" Editor="String" \
Title="Enable Call Journaling?" Default="True" />
  </Parameters>
  <Authentication Type="No" />
  <Scenarios>
    <Scenario Id="ReportCall" Type="REST">
      <Request SkipIf="[ReportCallEnabled]!=True" Url="[Door]?token=[Token]" MessagePasses="0" Message="" \
RequestEncoding="Json" RequestType="Post" ResponseType="Json">
        <PostValues>
{values}
        </PostValues>
      </Request>
    </Scenario>
  </Scenarios>
</Crm>
"""


def template() -> str:
    """The file to upload under Integrations, CRM, Server side, Add."""
    lines = [_VALUE.format(key=key, passes=_PASSES.get(key, 1), value=value) for key, value in VALUES.items()]
    return _TEMPLATE.format(values="\n".join(lines))
